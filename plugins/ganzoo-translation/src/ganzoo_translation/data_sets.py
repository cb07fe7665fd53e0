"""Images with what they are to be made from: pairs, two kinds without pairs, domains, and sources computed from the images."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, ImageFilter

from ganzoo.data.decoding import Fit, outlines, read_header
from ganzoo.data.files import Folder
from ganzoo.data.hashing import digest
from ganzoo.data.listing import printable
from ganzoo.data.splits import Split, chosen
from ganzoo.errors import UsageError
from ganzoo.interfaces import Dataset, DataSpec
from ganzoo.plugin import FilePath, Part

Array = np.ndarray[Any, Any]


class _Some(Dataset):
    """The records of a data set that are in a split, as they are there."""

    settings: tuple[object, ...] = ()  # what else the records depend on

    def __init__(self, data: Dataset, split: Split, held_out: float) -> None:
        self._all, self._kept = data, chosen(data.names, split, held_out)
        self.spec = data.spec
        self.names = [data.names[i] for i in self._kept]
        self.labels = data.labels[self._kept] if data.labels is not None else None
        self.captions = [data.captions[i] for i in self._kept] if data.captions is not None else None

    @property
    def notices(self) -> Sequence[str]:  # decoding adds to them
        return self._all.notices

    def fingerprint(self) -> str:
        return digest(type(self).__name__, 1, self.settings, self._all.fingerprint(), self._kept)

    def decode(self, index: int) -> dict[str, Array]:
        return self._all.decode(self._kept[index])


class _Two(Dataset):
    """Two data sets side by side: record i is "real" of one and "source" of the other, at the indices in `pairs`."""

    def __init__(self, source: Dataset, target: Dataset, pairs: list[tuple[int, int]], where: str) -> None:
        if source.spec.resolution != target.spec.resolution:
            sizes = " and ".join("x".join(map(str, part.spec.resolution)) for part in (source, target))
            raise UsageError(f"{where}: the two sides are of {sizes} pixels; --res makes them one size")
        self._parts, self._pairs = (source, target), pairs
        self.spec = target.spec.replace(classes=(), source=source.spec.replace(classes=()))
        self.names = [target.names[of_target] for _, of_target in pairs]

    @property
    def notices(self) -> Sequence[str]:  # decoding adds to either's
        return list(dict.fromkeys(notice for part in self._parts for notice in part.notices))

    def fingerprint(self) -> str:
        return digest("two", 1, [part.fingerprint() for part in self._parts], self._pairs)

    def decode(self, index: int) -> dict[str, Array]:
        (source, target), (of_source, of_target) = self._parts, self._pairs[index]
        return {"real": target.decode(of_target)["real"], "source": source.decode(of_source)["real"]}


def _folders(source: str, target: str, res: tuple[int, int] | None, fit: Fit) -> tuple[Folder, Folder]:
    one, other = (Folder(path=path, res=res, fit=fit, labels=False) for path in (source, target))
    return one, other


class Paired(_Two):
    """Aligned pairs: two folders in which a pair has one name, whatever its ending.

    Raises UsageError where a name has no partner or two files have it, and where the two of one of the first 1,000 pairs differ
    in size; later ones that do are left out as unreadable.

    Options:
        source: the folder to translate from
        target: the folder to translate to
        res: height and width of both; none: the images' own
        fit: how another aspect is made to fit: cover (cut), contain (white borders), stretch
        split: train, held-out or all of the pairs
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        source: FilePath,
        target: FilePath,
        res: tuple[int, int] | None = None,
        fit: Fit = "cover",
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        sides = _folders(source, target, res, fit)
        stems = [_stems(side.names, path) for side, path in zip(sides, (source, target), strict=True)]
        for here, there, path, other in ((0, 1, source, target), (1, 0, target, source)):
            if lone := sorted(stems[here].keys() - stems[there].keys()):
                shown = ", ".join(lone[:3]) + (f" and {len(lone) - 3} more" if len(lone) > 3 else "")
                raise UsageError(f"{path}: no partner in {other} for {shown}; a pair has one name in both folders")
        names = sorted(stems[0])
        kept = [names[i] for i in chosen(names, split, held_out)]
        pairs = [(stems[0][name], stems[1][name]) for name in kept]
        self._files = [(Path(source, sides[0].names[a]), Path(target, sides[1].names[b])) for a, b in pairs]
        for (_, of_target), files in zip(pairs[:1000], self._files, strict=False):
            if apart := _apart(files):
                raise UsageError(f"{sides[1].names[of_target]}: {apart}")
        super().__init__(sides[0], sides[1], pairs, "paired")

    def fingerprint(self) -> str:
        return digest("of one size", super().fingerprint())

    def decode(self, index: int) -> dict[str, Array]:
        if apart := _apart(self._files[index]):
            raise ValueError(apart)
        return super().decode(index)


def _stems(names: Sequence[str], path: str) -> dict[str, int]:
    """The places of names without their endings. Raises UsageError where two are one."""
    found: dict[str, int] = {}
    for i, name in enumerate(names):
        if (first := found.setdefault(str(PurePosixPath(name).with_suffix("")), i)) != i:
            both = f"{printable(names[first])} and {printable(name)}"
            raise UsageError(f"{path}: {both} differ in their ending alone, so which of them is paired? Remove one")
    return found


def _apart(files: tuple[Path, Path]) -> str | None:
    """Why two images are no pair, by their headers; None where they may be one."""
    one, other = map(_size, files)
    if not one or not other or one == other:
        return None
    sizes = " and ".join("x".join(map(str, size)) for size in (one, other))
    return f"its pair is of {sizes} pixels (HxW), so it is not aligned"


def _size(path: Path) -> tuple[int, int] | None:
    """(height, width) by the header; None of what cannot be read, which the decoding tells of."""
    try:
        with path.expanduser().open("rb") as stream:
            return read_header(stream).size
    except Exception:
        return None


class SideBySide(_Some):
    """Aligned pairs in one folder, two images beside each other in each file, as pix2pix's data sets come.

    Options:
        path: the folder
        source: the half to translate from
        res: height and width of one half; none: half of the images' own, which must agree
        split: train, held-out or all of the pairs
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        path: FilePath,
        source: Literal["left", "right"] = "left",
        res: tuple[int, int] | None = None,
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        whole = Folder(path=path, res=None if res is None else (res[0], 2 * res[1]), fit="stretch", labels=False)
        height, width = whole.spec.resolution
        if res is None and not whole.one_size:  # a folder then chooses a square, whatever is in its two halves
            raise UsageError(
                f"{path}: the images differ in size: say one half's with --res HxW, such as --res {height}x{height}"
            )
        if width % 2 or width < height:
            raise UsageError(f"{path}: images of {height}x{width} are no two halves side by side; --res HxW is one half's size")
        super().__init__(whole, split, held_out)
        half = whole.spec.replace(shape=(whole.spec.channels, height, width // 2))
        self.spec = half.replace(source=half)
        self.settings = (source,)

    def decode(self, index: int) -> dict[str, Array]:
        left, right = np.split(super().decode(index)["real"], 2, axis=2)
        source, target = (left, right) if self.settings == ("left",) else (right, left)
        return {"real": np.ascontiguousarray(target), "source": np.ascontiguousarray(source)}


class Unpaired(_Two):
    """Images of two kinds, in two folders: every image of the larger folder once an epoch, of the other as often as it takes.

    Options:
        source: the folder to translate from
        target: the folder to translate to
        res: height and width of both; none: the images' own
        fit: how another aspect is made to fit: cover (cut), contain (white borders), stretch
        split: train, held-out or all of either folder
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        source: FilePath,
        target: FilePath,
        res: tuple[int, int] | None = None,
        fit: Fit = "cover",
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        sides = _folders(source, target, res, fit)
        kept = [chosen(side.names, split, held_out) for side in sides]
        n = max(map(len, kept))
        pairs = [(kept[0][i % len(kept[0])], kept[1][i % len(kept[1])]) for i in range(n)]
        super().__init__(sides[0], sides[1], pairs, "unpaired")
        self.names = [f"{sides[0].names[a]} {sides[1].names[b]}" for a, b in pairs]


class Domains(_Some):
    """Images of several kinds, a folder a domain: what a translator among them all needs.

    Raises UsageError for fewer than two domains, and for one without images.

    Options:
        path: the folder that holds the domains' folders
        res: height and width of the images; none: their own
        fit: how another aspect is made to fit: cover (cut), contain (white borders), stretch
        split: train, held-out or all of the images
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        path: FilePath,
        res: tuple[int, int] | None = None,
        fit: Fit = "cover",
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        every = Folder(path=path, res=res, fit=fit, labels=True)
        classes = every.spec.classes
        entries = [entry for entry in os.scandir(Path(path).expanduser()) if entry.is_dir() and entry.name[0] not in "._"]
        folders = {printable(entry.name) for entry in entries}
        if len(classes) < 2:
            raise UsageError(f"{path} has {len(classes)} domain: put the images of each domain in a folder of its own")
        # A dataset.json has names of its own, and a folder around them all is no domain.
        if folders & set(classes) and (empty := sorted(folders - set(classes))):
            raise UsageError(f"{path}/{empty[0]} holds no images, and a domain needs some")
        super().__init__(every, split, held_out)
        self.spec = every.spec.replace(domains=classes)


# ---- sources computed from the images


class _Computed(_Some):
    """A data set of images, and for each a source that `make` computes from its pixels, uint8 [C, H, W]."""

    def __init__(self, data: Part, split: Split, held_out: float, source: Callable[[DataSpec], DataSpec]) -> None:
        images: Dataset = data.build()
        if images.spec.modality != "image":
            raise UsageError(f"data={data.name} holds {images.spec.modality} data: give a data set of images")
        super().__init__(images, split, held_out)
        plain = images.spec.replace(classes=(), source=None, text=0)
        self.spec, self.labels = plain.replace(source=source(plain)), None

    def decode(self, index: int) -> dict[str, Array]:
        pixels = super().decode(index)["real"]
        return {"real": pixels, "source": self.make(pixels, index)}

    def make(self, pixels: Array, index: int) -> Array:
        raise NotImplementedError


class Downscaled(_Computed):
    """Images and their reduced copies, for super-resolution: bicubic, with blur, noise and JPEG where asked for.

    Options:
        data: a data set of images, as emoji or folder(path=...); sides must be multiples of scale
        scale: how many times smaller the source is
        blur: standard deviation of a Gaussian before the reduction, in pixels of the large image
        noise: standard deviation of noise on the small image, of 255; a function of the record
        jpeg: quality at which the small image is stored and read again, 1 to 95; none: not
        split: train, held-out or all of the images
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        data: Annotated[Part, "dataset"] = Part("emoji"),
        scale: int = 4,
        blur: float = 0.0,
        noise: float = 0.0,
        jpeg: int | None = None,
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        if scale < 1 or blur < 0 or noise < 0 or (jpeg is not None and not 1 <= jpeg <= 95):
            raise UsageError("scale is at least 1, blur and noise at least 0, jpeg from 1 to 95")

        def source(spec: DataSpec) -> DataSpec:
            if any(side % scale for side in spec.resolution):
                raise UsageError(f"data of {'x'.join(map(str, spec.resolution))} pixels are no multiple of scale={scale}")
            if jpeg is not None and spec.channels == 4:
                raise UsageError(
                    f"jpeg={jpeg}: a JPEG has no transparency, and the data do; give them channels=rgb, or leave jpeg out"
                )
            return spec.replace(shape=(spec.channels, *(side // scale for side in spec.resolution)))

        super().__init__(data, split, held_out, source)
        self._scale, self._blur, self._noise, self._jpeg = self.settings = (scale, blur, noise, jpeg)

    def make(self, pixels: Array, index: int) -> Array:
        image = _image(pixels)
        if self._blur:
            image = image.filter(ImageFilter.GaussianBlur(self._blur))
        image = image.resize((image.width // self._scale, image.height // self._scale), Image.Resampling.BICUBIC)
        if self._noise:
            drawn = np.random.default_rng(index).normal(0, self._noise, np.asarray(image).shape)
            image = Image.fromarray((np.asarray(image) + drawn).round().clip(0, 255).astype(np.uint8))
        if self._jpeg is not None:
            stored = io.BytesIO()
            image.save(stored, "JPEG", quality=self._jpeg)
            image = Image.open(stored)
        return _pixels(image)


class Derived(_Computed):
    """Images, and a drawing of them to start from: grey to colour, outlines to drawing.

    Options:
        data: a data set of images, as emoji or folder(path=...)
        source: grey: the luma; outlines: dark lines on white where the image changes most
        split: train, held-out or all of the images
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        data: Annotated[Part, "dataset"] = Part("emoji"),
        source: Literal["grey", "outlines"] = "grey",
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        super().__init__(data, split, held_out, lambda spec: spec.replace(shape=(1, *spec.resolution)))
        self._source = source
        self.settings = (source,)

    def make(self, pixels: Array, index: int) -> Array:
        if self._source == "grey":
            return np.asarray(_image(pixels).convert("L"))[None]
        return outlines(pixels)


def _image(pixels: Array) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _pixels(image: Image.Image) -> Array:
    planes = np.asarray(image)
    return np.ascontiguousarray(planes[None] if planes.ndim == 2 else planes.transpose(2, 0, 1))
