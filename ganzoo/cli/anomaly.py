"""`ganzoo anomaly`: what a run's generator cannot make again is unlike its training data."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

_HEAT = 128  # pixels of the shorter side of a picture, at least
_CHUNK = 64  # images read, scored and forgotten at once


@click.group("anomaly", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Score images by what a run's generator cannot make again (f-AnoGAN)."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("fit")
@click.argument("run")
@click.option("--data", metavar="S|PATH", help="Normal images; without it the run's own data.")
@click.option("--kimg", type=float, metavar="X", help="Budget, in thousands of images seen. [100]")
@click.option("--lr", type=float, metavar="X", help="Learning rate of Adam. [5e-4]")
@click.option("--k", type=float, metavar="X", help="Weight of the discriminator's features beside the pixels. [1]")
@click.option("--batch", type=int, metavar="N", help="Images a step. [64]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Of weights and order. [0]")
@click.option("--device", default="auto", show_default=True, help="Where to compute.")
@click.option("--restart", is_flag=True, help="Begin anew, with the run's newest checkpoint.")
def fit(run: str, device: str, restart: bool, **given: Any) -> int:
    """Train the encoder that finds RUN's images in its generator again.

    What is written is in RUN/anomaly. A fit that was stopped goes on where it was, and one that is done with a
    larger --kimg.
    """
    from ganzoo import anomaly
    from ganzoo.cli.display import display_for
    from ganzoo.runs import quote

    display = display_for()
    session = anomaly.begin(run, given, device=device, display=display, restart=restart)
    fit, path = session.fit, quote(session.run.path)
    begun = f", from {fit.nimg / 1000:g} of {fit.total / 1000:g} kimg" if fit.nimg else ""
    display.say(f"an encoder for checkpoint {session.checkpoint}, in {session.place.path}{begun}")
    if session.play() == "stopped":
        display.say(f"stopped. To go on: ganzoo anomaly fit {path}")
        return 130
    display.say(f"done. Next: ganzoo anomaly score {path} IMAGES")
    return 0


@command.command("score")
@click.argument("run")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--normal", metavar="CLASS", multiple=True, help="This class is normal, all others are not: gives the AUROC.")
@click.option("--out", metavar="DIR", help="Write scores.csv there.")
@click.option("--heat", is_flag=True, help="With --out: a picture of each image, what G makes of it, and where they differ.")
@click.option("--json", "as_json", is_flag=True, help="One object, for programs.")
@click.option("--device", default="auto", show_default=True, help="Where to compute.")
def score(
    run: str, inputs: tuple[str, ...], normal: tuple[str, ...], out: str | None, heat: bool, as_json: bool, device: str
) -> int:
    """Say how far each image is from what RUN's generator makes: the higher, the odder.

    INPUT is an image file, a folder (a sub-folder a class), a .zip, .npz or .npy, or a data set such as fashion:split=test.
    Images of another size or in other channels are made to fit as those of the run were.
    """
    from ganzoo import anomaly
    from ganzoo.data.inputs import inputs as find
    from ganzoo.errors import UsageError
    from ganzoo.runs import check_writable, expanded
    from ganzoo.training.trainer import choose_device

    if heat and not out:
        raise UsageError("--heat writes a picture an image: say where with --out DIR")
    folder = expanded(out) if out else None
    if folder is not None:
        check_writable(folder)
    detector = anomaly.Detector(run, choose_device(device), _say)
    if detector.kimg < detector.budget:
        _say(f"the encoder has seen {detector.kimg:g} of {detector.budget:g} kimg: 'ganzoo anomaly fit {run}' goes on")
    images, notices = find(inputs, detector.data, detector.aspect)
    for notice in notices:
        _say(notice)
    _check_classes(images, normal)
    lines = folder is None and not as_json
    rows, unread = [], []
    for row in _rows(detector, images, folder if heat else None):
        if "error" in row:
            _say(f"{row['name']} cannot be read: {row['error']}")
            unread.append(row)
            continue
        rows.append(row)
        if lines:
            click.echo("\t".join([f"{row['score']:.6f}", row["name"], *([row["as"]] if "as" in row else [])]))
    found = _auroc(rows, normal)
    if folder is not None:
        _write_csv(rows, folder / "scores.csv")
    if as_json:
        told = {"run": run, "checkpoint": detector.checkpoint, "kimg": detector.kimg, "k": detector.settings.k}
        told |= {"images": rows, "unreadable": unread, "auroc": found}
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        for line in ([str(folder / "scores.csv")] if folder is not None else []) + _lines(found):
            click.echo(line)
    return 1 if unread else 0


def _say(words: str) -> None:
    click.echo(f"ganzoo: {words}", err=True)


def _check_classes(images: list[Any], normal: tuple[str, ...]) -> None:
    """Raises UsageError where --normal says nothing about these images."""
    from ganzoo.errors import UsageError, did_you_mean

    if not normal:
        return
    without = [image.name for image in images if image.label is None]
    if without:
        raise UsageError(f"--normal goes by classes, and {without[0]} has none: give folders, a sub-folder a class")
    classes = sorted({image.label for image in images})
    for name in normal:
        if name not in classes:
            raise UsageError(
                f"--normal {name}: no image is of that class.{did_you_mean(name, classes)} Classes: {', '.join(classes)[:300]}"
            )
    if set(classes) == set(normal):
        raise UsageError(f"all images are of the normal class {', '.join(normal)}: an AUROC takes others too")


def _rows(detector: Any, images: list[Any], pictures: Path | None) -> Iterator[dict[str, Any]]:
    """A table an image; of one that cannot be read its name and the error."""
    import numpy as np
    import torch

    for begin in range(0, len(images), _CHUNK):
        pixels, rows = [], []
        for number, image in enumerate(images[begin : begin + _CHUNK], begin):
            try:
                pixels.append(image.read())
            except Exception as err:  # whatever a decoder raises
                yield {"name": image.name, "error": " ".join(str(err).split()) or type(err).__name__}
                continue
            rows.append({"name": image.name, **({} if image.label is None else {"class": image.label}), "number": number})
        if not rows:
            continue
        x = torch.from_numpy(np.stack(pixels)).float() / 127.5 - 1
        scores = detector(x)
        columns = {
            "score": scores.score,
            "residual": scores.residual,
            "features": scores.features,
            "baseline": detector.baseline(x),
        }
        for i, row in enumerate(rows):
            number = row.pop("number")
            row |= {name: float(values[i]) for name, values in columns.items()}
            if scores.label is not None:
                row["as"] = detector.data.classes[int(scores.label[i])]
            if pictures is not None:
                stem = re.sub(r"[^\w.-]+", "_", Path(row["name"]).stem)
                row["picture"] = f"{number:06d}-{stem}.png"
                _draw(x[i], scores.made[i], pictures / row["picture"])
            yield row


def _draw(image: Any, made: Any, path: Path) -> None:
    """What was given, what G makes of it, and where they differ: black to white over half of the range of the pixels."""
    import numpy as np
    from PIL import Image

    from ganzoo.anomaly import heat_map
    from ganzoo.data import pictures

    heat = heat_map(image[None], made[None])[0].numpy().clip(0, 1)
    # Black, red, yellow, white: each colour takes a third of the way.
    colours = np.stack([np.clip(3 * heat - i, 0, 1) for i in range(3)])
    seen = pictures.to_uint8(np.stack([image.numpy(), made.numpy()]))
    seen = np.repeat(seen, 3, 1) if seen.shape[1] == 1 else seen[:, :3]
    picture = pictures.sheet(np.concatenate([seen, pictures.to_uint8(2 * colours[None] - 1)]), columns=3)
    factor = -(-_HEAT // min(image.shape[1:]))
    pictures.save(picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST), path)


def _auroc(rows: list[dict[str, Any]], normal: tuple[str, ...]) -> dict[str, Any] | None:
    """The AUROC of the score, and of the two that it should beat; None without --normal."""
    from ganzoo.anomaly import auroc

    odd = [row["class"] not in normal for row in rows] if normal else []
    if not any(odd) or all(odd):
        return None
    table: dict[str, Any] = {"normal": list(normal), "n_normal": odd.count(False), "n_anomalous": odd.count(True)}
    for name in ("score", "residual", "baseline"):
        found = auroc([row[name] for row in rows], odd)
        table[name] = {"auroc": found.value, "standard_error": found.error}
    return table


def _lines(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    words = {"score": "score", "residual": "pixels alone (k = 0)", "baseline": "distance to the mean training image"}
    return [
        f"AUROC of {found['n_anomalous']} anomalies against {found['n_normal']} of {', '.join(found['normal'])}:",
        *(f"  {found[name]['auroc']:.4f} ± {found[name]['standard_error']:.4f}  {words[name]}" for name in words),
    ]


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    from ganzoo.errors import RunError
    from ganzoo.runs import write_atomically

    columns = ("name", "class", "score", "residual", "features", "baseline", "as", "picture")
    text = io.StringIO()
    writer = csv.DictWriter(text, [name for name in columns if any(name in row for row in rows)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise RunError(f"--out {path.parent} could not be made: {err.strerror}") from None
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))  # a file's name may be no UTF-8
