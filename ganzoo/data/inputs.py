"""Images that a command is given beside its run: files, folders and data sets, at the size and in the channels of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganzoo.assembly import data_spec
from ganzoo.data.decoding import Fit, decode_image, extensions
from ganzoo.errors import UsageError
from ganzoo.fitting import Chosen, guard
from ganzoo.options import options_of, to_toml_value
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry

_CHANNELS = {1: "grey", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True, slots=True)
class Input:
    """One image: its name, its class where it has one, and how its pixels, uint8 [C, H, W], are read (which may fail)."""

    name: str
    label: str | None
    read: Callable[[], np.ndarray[Any, Any]]


def data_table(text: str) -> dict[str, Any]:
    """What `--data` means, as a table of name and options. Raises UsageError."""
    spec, registry = data_spec(text, get_registry()), get_registry()
    options = registry.resolve(registry.find("dataset", spec.name), spec.options, fill=False)
    return {"name": spec.name, **{name: to_toml_value(value) for name, value in options.items()}}


def data_like(table: Mapping[str, Any], like: DataSpec, fit: Fit = "cover") -> Any:
    """A data set at the size and in the channels of `like`, where its options can say so. Raises UsageError where they cannot.

    fit  how another aspect is made to fit, unless the table says
    """
    registry = get_registry()
    entry = registry.find("dataset", table["name"])
    target = registry.load(entry)
    wanted = {"res": like.resolution, "channels": _CHANNELS.get(like.channels), "fit": fit}
    given = {name: value for name, value in wanted.items() if name in options_of(target)} | dict(table)
    del given["name"]
    options = registry.resolve(entry, given)
    part = Chosen("data", table["name"], entry, target, options)
    dataset = guard(part, lambda: target(**options))
    if (dataset.spec.modality, dataset.spec.shape) != (like.modality, like.shape):
        raise UsageError(
            f"{part} gives {dataset.spec.modality} of {_size(dataset.spec)}, and the run's networks take {like.modality} of "
            f"{_size(like)}"
        )
    return dataset


def inputs(texts: Sequence[str], like: DataSpec, fit: Fit = "cover") -> tuple[list[Input], list[str]]:
    """The images that `texts` name, in order: image files, folders, or what `--data` takes; and what the user should hear.

    An image's class is what its data set says; in a folder its sub-folder, and where there are none (and of a file) the folder
    that it lies in. Raises UsageError for what is not there, DataError for a folder without any image.
    """
    found: list[Input] = []
    notices: list[str] = []
    for text in texts:
        path = Path(text).expanduser()
        if path.suffix.lower() in extensions() and path.is_file():
            found.append(Input(text, path.absolute().parent.name, _reader(path, like, fit)))
            continue
        dataset = data_like(data_table(text), like, fit)
        notices += dataset.notices
        within = path if path.is_dir() else None
        for index, name in enumerate(dataset.names):
            if dataset.labels is not None:
                label = dataset.spec.classes[int(dataset.labels[index])]
            else:
                label = (within.absolute() / name).parent.name if within else None
            found.append(Input(os.path.join(text, name) if within else name, label, _decoder(dataset, index)))
    return found, list(dict.fromkeys(notices))


def _reader(path: Path, like: DataSpec, fit: Fit) -> Callable[[], np.ndarray[Any, Any]]:
    def read() -> np.ndarray[Any, Any]:
        with path.open("rb") as stream:
            return decode_image(stream, like.shape, fit)[0]

    return read


def _decoder(dataset: Any, index: int) -> Callable[[], np.ndarray[Any, Any]]:
    def read() -> np.ndarray[Any, Any]:
        real: np.ndarray[Any, Any] = dataset.decode(index)["real"]
        return real

    return read


def _size(spec: DataSpec) -> str:
    return "x".join(map(str, spec.resolution)) + f" in {spec.channels} channel{'s' * (spec.channels != 1)}"
