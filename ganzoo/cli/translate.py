"""`ganzoo translate`, and what `ganzoo upscale` shares with it: files and folders of images through a generator."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

# What holds any result is kept, by ending: (format, options, largest side, whether it holds alpha). All else becomes .png.
_JPEG = ("JPEG", {"quality": 95}, 65_500, False)
_TIFF = ("TIFF", {"compression": "tiff_deflate"}, 2**31, True)
_KEPT: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _JPEG),
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".png": ("PNG", {}, 2**31, True),
    ".webp": ("WEBP", {"lossless": True}, 16_383, True),
    ".bmp": ("BMP", {}, 2**31, False),
    ".ppm": ("PPM", {}, 2**31, False),
}

_OPTIONS = (
    click.argument("run"),
    click.argument("inputs", metavar="INPUT...", nargs=-1, required=True),
    click.option("--out", required=True, metavar="DIR", help="Where to; names and sub-folders stay."),
    click.option("--tile", type=click.IntRange(min=1), metavar="N", help="Side of the tiles of large images. [chosen]"),
    click.option("--overlap", type=click.IntRange(min=0), metavar="N", help="Of neighbouring tiles. [a quarter of the tile]"),
    click.option("--overwrite", is_flag=True, help="Replace files that are there."),
    click.option("--checkpoint", metavar="K", help="A run's checkpoint by its kimg; without it the newest."),
    click.option("--device", default="cpu", show_default=True, help="Where to compute."),
    click.option("--strict", is_flag=True, help="Refuse a plugin that is not the one it was trained with."),
)


def options(function: Callable[..., int | None]) -> Callable[..., int | None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("translate")
@options
@click.option("--to", metavar="B|A|DOMAIN", help="B: what the data hold; A: back, of a CycleGAN; or a domain.")
def command(run: str, inputs: tuple[str, ...], to: str | None, **given: Any) -> None:
    """Make images from images with RUN, a run's directory or an exported model.

    INPUT are images, and folders of them with all their sub-folders. A file keeps its name, its format where that holds the
    result (else .png) and its size, or is enlarged where RUN was trained to. The generator sees what is transparent on white;
    the transparency itself is carried over.
    """
    work(run, inputs, to=to, enlarging=False, **given)


_Tiling = tuple[int | None, int | None]  # side and overlap


@dataclass(frozen=True, slots=True)
class _Job:
    """An image to read, the file that becomes of it, and how many tiles that takes."""

    source: Path
    target: Path
    form: str
    options: dict[str, Any]
    tiles: int


def work(run: str, inputs: Sequence[str], *, to: str | None, enlarging: bool, out: str, overwrite: bool, **given: Any) -> None:
    """Check everything, then translate one file after the other. An input that cannot be read is named, the others are done."""
    from ganzoo.cli.display import display_for
    from ganzoo.errors import GanzooError
    from ganzoo.loading import load
    from ganzoo.runs import check_writable, expanded
    from ganzoo.training.trainer import choose_device

    place = expanded(out)
    check_writable(place)
    found = _images(inputs, place)
    model = load(run, device=choose_device(given["device"]), at=given["checkpoint"], to=to, strict=given["strict"])
    _check(model, enlarging, run)
    to = to if model.destinations else None  # else it was a direction, which has chosen the network
    model.destination(to)
    tiling = given["tile"], given["overlap"]
    model.cut((1, 1), *tiling)  # refuses what does not suit
    jobs = _jobs(found, place, model, tiling)
    _check_targets(jobs, overwrite)

    failed, done, total, said = 0, 0, sum(job.tiles for job in jobs), set[str]()

    def say(words: str) -> None:
        if words not in said:
            said.add(words)
            click.echo(f"ganzoo: {words}", err=True)

    with display_for().progress("upscaling" if enlarging else "translating") as update:
        for job in jobs:
            before = done

            def tick() -> None:
                nonlocal done
                done += 1
                update(done, total)

            if (reason := _do(job, model, to, tiling, say, tick)) is not None:
                failed += 1
                say(reason)
            done = before + job.tiles
            update(done, total)
    if failed:
        left = f"the other {len(jobs) - failed} are in {place}" if failed < len(jobs) else f"{place} got nothing"
        raise GanzooError(f"{failed} of {len(jobs)} images could not be done; {left}")
    click.echo(str(place))


def _check(model: Any, enlarging: bool, run: str) -> None:
    from ganzoo.errors import UsageError

    if not model.translates:
        raise UsageError(f"{run} makes {model.data.modality} data from noise: use 'ganzoo sample'")
    if model.data.modality != "image":
        raise UsageError(f"{run} makes {model.data.modality} data, and this command reads and writes images")
    if enlarging and model.scale == (1, 1):
        raise UsageError(f"{run} does not enlarge images: use 'ganzoo translate'")
    for spec in (model.data.source or model.data, model.data):
        if spec.channels not in (1, 3, 4):
            raise UsageError(
                f"{run} is of images with {spec.channels} channels, and files hold 1, 3 or 4: use ganzoo.load(...).translate"
            )


# ---- which files


def _images(inputs: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """Images with what they are called in the output: a file's name, or its path in the folder that was given."""
    from ganzoo.data.files import walk
    from ganzoo.data.listing import is_image
    from ganzoo.errors import DataError, UsageError
    from ganzoo.runs import expanded

    found: list[tuple[Path, Path]] = []
    for given in inputs:
        path = expanded(given)
        if not os.path.lexists(path):
            raise UsageError(f"there is no '{given}'")
        if not path.is_dir():
            found.append((path, Path(path.name)))
            continue
        try:
            inside = [Path(name) for name in walk(path) if is_image(name)]
        except OSError as err:
            raise DataError(f"cannot read the folder {err.filename}: {err.strerror}") from err
        ours = out.resolve()  # what an earlier call wrote into a folder of its input is no input
        images = [(path / name, name) for name in inside if ours == path.resolve() or not _within(path / name, ours)]
        if not images:
            raise UsageError(f"the folder {given} holds no images")
        found += images
    return found


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _jobs(found: list[tuple[Path, Path]], out: Path, model: Any, tiling: _Tiling) -> list[_Job]:
    jobs: dict[tuple[Path, Path], _Job] = {}
    for path, name in found:
        form, options, largest, holds_alpha = _KEPT.get(name.suffix.lower(), _KEPT[".png"])
        size, alpha = _look(path)
        sides = [side * factor for side, factor in zip(size, model.scale, strict=True)]
        fits = max(sides) <= largest and (holds_alpha or not (alpha or model.data.channels == 4))
        if name.suffix.lower() not in _KEPT or not fits:
            name, (form, options, *_) = name.with_suffix(".png"), _KEPT[".png"]
        # Once, where a folder and an image in it are given.
        jobs.setdefault((path.resolve(), name), _Job(path, out / name, form, options, model.cut(size, *tiling).tiles))
    return list(jobs.values())


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """Height and width, and whether there is alpha; of what cannot be read anything: that is told when its turn comes."""
    from ganzoo.data.decoding import read_header

    try:
        with path.open("rb") as stream:
            header = read_header(stream)
    except Exception:  # whatever Pillow's thirty readers raise
        return (1, 1), False
    return header.size, header.alpha


def _check_targets(jobs: list[_Job], overwrite: bool) -> None:
    """Refuse, before any work, two inputs of one name, files that are there, and writing onto an input."""
    from ganzoo.data.listing import printable
    from ganzoo.errors import UsageError
    from ganzoo.runs import check_writable

    inputs = {(found.st_dev, found.st_ino): job.source for job in jobs if (found := _stat(job.source)) is not None}
    by_target: dict[Path, Path] = {}
    taken = []
    for job in jobs:
        target = printable(str(job.target))
        if (other := by_target.setdefault(job.target, job.source)) is not job.source:
            raise UsageError(
                f"{printable(str(other))} and {printable(str(job.source))} would both become {target}: "
                "give them in two calls, with an --out each"
            )
        there = _stat(job.target)
        if there is not None and (there.st_dev, there.st_ino) in inputs:
            raise UsageError(f"{target} is one of the inputs, and those are not written onto: choose another --out")
        if job.target.is_dir():
            raise UsageError(f"{target} is a folder, and an image is to be written there: choose another --out")
        if os.path.lexists(job.target):
            taken.append(target)
    for folder in {job.target.parent for job in jobs}:
        check_writable(folder)
    if taken and not overwrite:
        more = f", and so do {len(taken) - 1} more" if len(taken) > 1 else ""
        raise UsageError(f"{taken[0]} exists{more}: replace with --overwrite, or choose another --out")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


# ---- one file


def _do(
    job: _Job, model: Any, to: str | None, tiling: _Tiling, say: Callable[[str], None], tick: Callable[[], None]
) -> str | None:
    """Translate one file. Returns why it cannot be; GanzooError where the result cannot be written, or memory ends."""
    import torch

    from ganzoo.data import pictures
    from ganzoo.data.decoding import decode_whole
    from ganzoo.data.listing import printable
    from ganzoo.errors import PluginError
    from ganzoo.translating import image_wide_norms

    name = printable(str(job.source))
    try:
        with job.source.open("rb") as stream:
            pixels, alpha, remarks = decode_whole(stream, (model.data.source or model.data).channels)
    except Exception as err:  # whatever Pillow's thirty readers raise
        return f"{name} cannot be read: {getattr(err, 'strerror', None) or err or type(err).__name__}"
    for remark in remarks:
        say(remark)
    if job.tiles > 1 and image_wide_norms(model.network):
        say("large images are cut into tiles, all normalised as a reduced copy of the image: see docs/translation.md")
    images = torch.tensor(pixels)[None].float() / 127.5 - 1
    try:
        made = model.translate(images, to=to, tile=tiling[0], overlap=tiling[1], tick=tick)
    except PluginError as err:
        return f"{name} cannot be done: {err}"
    pictures.save(_picture(pictures.to_uint8(made[0].numpy()), alpha), job.target, job.form, **job.options)
    return None


def _picture(pixels: Any, alpha: Any) -> Any:
    """uint8 [C, H, W] as an image, with this alpha [h, w], enlarged as it was, unless it has its own."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())
    if alpha is not None and len(pixels) != 4:
        image.putalpha(Image.fromarray(alpha).resize(image.size, Image.Resampling.BICUBIC))
    return image
