"""`ganzoo sample`: pictures, or arrays, from a run or an exported model."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import click


@click.command("sample")
@click.argument("run")
@click.option("--n", type=click.IntRange(min=1), default=64, show_default=True, help="How many.")
@click.option(
    "--seed", type=click.IntRange(0, 2**62), default=0, show_default=True, help="Of the first; the next have the next seeds."
)
@click.option("--seeds", metavar="3,17", help="These seeds, one sample each.")
@click.option("--class", "label", metavar="NAME", help="Of this class only.")
@click.option("--text", metavar="CAPTION", help="Of this caption, for a generator that looks at captions.")
@click.option("--truncation", type=float, metavar="X", help="1: as trained; towards 0: more usual, less varied.")
@click.option("--checkpoint", metavar="K", help="A run's checkpoint by its kimg; without it the newest.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute.")
@click.option("--strict", is_flag=True, help="Refuse a plugin that is not the one it was trained with.")
@click.option("--out", required=True, metavar="FILE.png|DIR|FILE.npz", help="A sheet, a folder of images, or arrays.")
def command(
    run: str,
    n: int,
    seed: int,
    seeds: str | None,
    label: str | None,
    text: str | None,
    truncation: float | None,
    checkpoint: str | None,
    device: str,
    strict: bool,
    out: str,
) -> None:
    """Draw samples from RUN, a run's directory or an exported model."""
    from ganzoo.errors import UsageError
    from ganzoo.loading import load
    from ganzoo.runs import check_writable, expanded
    from ganzoo.training.trainer import choose_device

    chosen = parse_seeds(seeds) if seeds is not None else list(range(seed, seed + n))
    path = expanded(out)
    suffix = "" if out.endswith(("/", os.sep)) or path.is_dir() else path.suffix.lower()
    if suffix not in ("", ".png", ".npz") or (not suffix and os.path.lexists(path) and not path.is_dir()):
        raise UsageError(
            f"--out {out}: write FILE.png for a sheet, FILE.npz for arrays, or a folder's name (DIR/) for one image a file"
        )
    check_writable(path.parent if suffix else path)
    model = load(run, device=choose_device(device), at=checkpoint, strict=strict)
    samples = model.sample(seeds=chosen, label=label, text=text, truncation=truncation).numpy()
    _write(path, suffix, samples, chosen, model.labels(chosen, label), model)
    click.echo(str(path))


def parse_seeds(text: str) -> list[int]:
    """ "3,17" as numbers. Raises UsageError."""
    from ganzoo.errors import UsageError

    try:
        seeds = [int(word) for word in text.split(",")]
        if not 0 <= min(seeds) <= max(seeds) < 2**63:
            raise ValueError
    except ValueError:
        raise UsageError(f"--seeds {text}: write whole numbers from 0 to 2^63 - 1, joined by commas: 3,17") from None
    return seeds


def _write(path: Path, suffix: str, samples: Any, seeds: list[int], labels: list[int], model: Any) -> None:
    import numpy as np

    from ganzoo.data import pictures
    from ganzoo.errors import GanzooError
    from ganzoo.runs import write_atomically

    spec = model.data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npz":
            arrays = {"samples": pictures.to_uint8(samples) if spec.modality == "image" else samples, "seeds": np.array(seeds)}
            if labels:
                arrays |= {"labels": np.array(labels), "classes": np.array(spec.classes)}
            whole = io.BytesIO()
            np.savez_compressed(whole, **arrays)
            write_atomically(path, whole.getvalue())
        elif suffix == ".png":
            pictures.draw(samples, spec, path, columns=max(1, min(16, round(len(samples) ** 0.5))))
        else:
            path.mkdir(exist_ok=True)
            for i, seed in enumerate(seeds):
                folder = path / _safe(spec.classes[labels[i]]) if labels else path
                pictures.draw(samples[i : i + 1], spec, folder / f"{seed:06d}.png", columns=1)
    except OSError as err:
        raise GanzooError(f"--out {path} could not be written: {err.strerror}") from None


def _safe(name: str) -> str:
    """A class name as a folder's name."""
    return "".join(c if c.isalnum() or c in " -_.&" else "_" for c in name).strip(". ") or "_"
