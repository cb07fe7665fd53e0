"""`ganzoo synthesize`: samples as a data set, with as many of each class, that `ganzoo train --data` reads."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

LAYOUTS = ("folder", "zip", "npz")
_OF_DATA = {"folder": "folder", "zip": "zip", "array": "npz"}  # of a run's data set; any other: a folder
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 95}),
    "webp": ("WEBP", {"lossless": True}),
}
_LONGEST = 255  # bytes of a folder's name
_CHUNK = 64


@click.command("synthesize")
@click.argument("run")
@click.option("--out", required=True, metavar="DIR|FILE", help="A folder, a .zip or an .npz; it must not be there yet.")
@click.option("--per-class", type=click.IntRange(min=1), metavar="N", help="Samples of each class.")
@click.option("--n", type=click.IntRange(min=1), metavar="N", help="Samples in all, where there are no classes.")
@click.option("--seed", type=click.IntRange(0, 2**62), default=0, show_default=True, help="Of the first; each has its own.")
@click.option("--truncation", type=float, metavar="X", help="1: as trained; towards 0: more usual, less varied.")
@click.option("--format", "form", type=click.Choice([*_FORMATS]), help="Of the image files. [png]")
@click.option("--layout", type=click.Choice(LAYOUTS), help="Without it by --out's ending, else that of RUN's data.")
@click.option("--checkpoint", metavar="K", help="A run's checkpoint by its kimg; without it the newest.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute.")
@click.option("--strict", is_flag=True, help="Refuse a plugin that is not the one it was trained with.")
def command(
    run: str, out: str, per_class: int | None, n: int | None, seed: int, truncation: float | None, **given: Any
) -> None:
    """Write samples of RUN, a run's directory or an exported model, as a data set to train on.

    A folder or zip has a sub-folder a class; an .npz has the samples and their labels. File names are seeds: with the class
    they give the same image to `ganzoo sample --seeds`.
    """
    from ganzoo.cli.display import display_for
    from ganzoo.errors import GanzooError, UsageError
    from ganzoo.loading import load
    from ganzoo.runs import check_writable, expanded
    from ganzoo.training.trainer import choose_device

    path = expanded(out)
    _check_free(path)
    check_writable(path)
    model = load(run, device=choose_device(given["device"]), at=given["checkpoint"], strict=given["strict"])
    if model.translates:
        raise UsageError(f"{run} makes images from images, not from noise: use 'ganzoo translate'")
    if "encoder" in model.config:
        raise UsageError(f"{run} makes images of captions, which a data set of classes has none of: use 'ganzoo sample --text'")
    layout = _layout(given["layout"], path, model)
    form = _form(given["form"], layout, model)
    path = path if layout == "folder" or path.suffix.lower() == f".{layout}" else path.with_name(f"{path.name}.{layout}")
    _check_free(path)
    classes = model.data.classes
    each = _count(per_class, n, classes)
    folders = _folders(classes, layout) if classes and layout != "npz" else []
    total = each * max(1, len(classes))

    def chunks() -> Iterator[tuple[int | None, list[int], Any]]:
        """The class, seeds and samples of a few records at a time, class by class."""
        with display_for().progress("synthesizing") as update:
            for begin in (k * each + i for k in range(max(1, len(classes))) for i in range(0, each, _CHUNK)):
                label = begin // each if classes else None
                seeds = list(range(seed + begin, seed + min(begin + _CHUNK, (begin // each + 1) * each)))
                yield label, seeds, model.sample(seeds=seeds, label=label, truncation=truncation).numpy()
                update(begin + len(seeds), total)

    try:
        with _beside(path) as place:
            if layout == "npz":
                _write_arrays(place, chunks(), model.data)
            elif layout == "zip":
                with zipfile.ZipFile(place, "w") as archive:
                    _write_images(lambda name, content: archive.writestr(name, content), chunks(), folders, form)
            else:
                _write_images(lambda name, content: _write_file(place / name, content), chunks(), folders, form)
    except OSError as err:
        raise GanzooError(f"--out {path} could not be written: {err.strerror or err}; free some space") from None
    click.echo(str(path))


# ---- what is asked for


def _check_free(path: Path) -> None:
    from ganzoo.errors import UsageError

    if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"--out {path}: it exists and is no empty folder; choose another")
    if not path.name:  # what is written beside it takes its place at the end
        raise UsageError(f"--out {path}: the folder that you are in cannot be replaced; give another a name")


def _layout(asked: str | None, path: Path, model: Any) -> str:
    from ganzoo.errors import UsageError

    ending = path.suffix.lower().removeprefix(".")
    by_name = ending if ending in ("zip", "npz") else None
    if asked is not None and by_name is not None and asked != by_name:
        raise UsageError(f"--layout {asked} and --out {path.name} are two things: leave one of them out")
    of_data = _OF_DATA.get(model.config.get("dataset", ""), "folder") if model.data.modality == "image" else "npz"
    layout = asked or by_name or of_data
    if layout != "npz" and model.data.modality != "image":
        raise UsageError(f"{model.data.modality} data are no image files: --layout npz")
    if model.data.modality == "image" and model.data.channels not in (1, 3, 4):
        raise UsageError(f"images of {model.data.channels} channels are no data that --data reads: it takes 1, 3 or 4")
    return layout


def _form(asked: str | None, layout: str, model: Any) -> str:
    from ganzoo.errors import UsageError

    if asked is not None and layout == "npz":
        raise UsageError(f"--format {asked} means nothing to an .npz, which holds no image files: leave it out")
    if asked == "jpg" and model.data.channels == 4:
        raise UsageError("--format jpg has no transparency, and these images do: take png or webp")
    if asked == "webp" and model.data.channels == 1:
        raise UsageError("--format webp has no grey, and these images are: take png or jpg")
    return asked or "png"


def _count(per_class: int | None, n: int | None, classes: tuple[str, ...]) -> int:
    from ganzoo.errors import UsageError

    if classes and (per_class is None or n is not None):
        raise UsageError(f"say how many of each of the {len(classes)} classes with --per-class N, and leave --n out")
    if not classes and (n is None or per_class is not None):
        raise UsageError("this generator was trained without classes: say how many samples with --n N, without --per-class")
    return per_class or n or 0


def _folders(classes: tuple[str, ...], layout: str) -> list[str]:
    """A folder's name for each class, by which training will know it; what cannot be one is told on stderr."""
    from ganzoo.data.listing import is_hidden, printable

    forbidden = "/\0" + ("\\:" if layout == "zip" else "") + ('<>:"|?*\\' if os.name == "nt" else "")
    found: list[str] = []
    for name in classes:
        folder = "".join("_" if c in forbidden or not c.isprintable() else c for c in name)
        folder = folder.encode("utf-8", "replace")[: _LONGEST - 4].decode("utf-8", "ignore")
        if not folder or is_hidden(folder):
            folder = f"_{folder}"
        while folder in found or (folder != name and folder in classes):
            folder += "_"
        if folder != name:
            click.echo(f"ganzoo: class '{printable(name)}' is no folder's name: it becomes '{folder}'", err=True)
        found.append(folder)
    if len(found) == 1:
        click.echo("ganzoo: a single sub-folder is read as no class: these images will have no labels", err=True)
    return found


# ---- writing


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A place to write in, that takes the name `path` when all is there; what was stopped leaves nothing."""
    place = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield place
        if path.is_dir():
            path.rmdir()  # an empty one: not every system renames over it
        place.rename(path)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_images(
    write: Callable[[str, bytes], object], chunks: Iterator[tuple[int | None, list[int], Any]], folders: list[str], form: str
) -> None:
    from ganzoo.data import pictures

    pillow, options = _FORMATS[form]
    for label, seeds, samples in chunks:
        for seed, pixels in zip(seeds, pictures.to_uint8(samples), strict=True):
            encoded = io.BytesIO()
            pictures.sheet(pixels[None]).save(encoded, pillow, **options)
            folder = f"{folders[label]}/" if label is not None else ""
            write(f"{folder}{seed:06d}.{form}", encoded.getvalue())


def _write_arrays(path: Path, chunks: Iterator[tuple[int | None, list[int], Any]], spec: Any) -> None:
    """The keys that `--data FILE.npz` reads; images [N, H, W, C], or [N, H, W] where they are grey."""
    import numpy as np

    from ganzoo.data import pictures

    parts, labels, seeds = [], [], []
    for label, of_chunk, samples in chunks:
        if spec.modality == "image":
            samples = pictures.to_uint8(samples)
            samples = samples[:, 0] if spec.channels == 1 else samples.transpose(0, 2, 3, 1)
        parts.append(samples)
        seeds += of_chunk
        labels += [label] * len(of_chunk)
    arrays = {"images" if spec.modality == "image" else "x": np.concatenate(parts), "seeds": np.array(seeds)}
    if spec.classes:
        numbered = spec.classes == tuple(map(str, range(len(spec.classes))))  # what an array's numbers are called
        arrays["labels"] = np.array(labels) if numbered else np.array(spec.classes)[labels]
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
