"""Checks of data sets: `check_...(entry, options)`; options must name what the data set cannot do without, as a path."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ganzoo.data.cache import fields_of
from ganzoo.errors import GanzooError
from ganzoo.interfaces import Dataset
from ganzoo.options import options_of
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry, get_registry
from ganzoo.testing.cases import NO_OPTIONS, Options, alternatives, build
from ganzoo.testing.contracts import Skip, check, expect

_LOOKED_AT = 16  # records


@check("len(dataset), names, labels and captions agree; `spec` is a DataSpec of the modality that the component declares")
def check_dataset_records(entry: Entry, options: Options = NO_OPTIONS) -> None:
    dataset = _build(entry, options)
    n = len(dataset)
    expect(n > 0, "at least one record", n)
    for name in ("names", "captions"):
        values = getattr(dataset, name)
        if name == "names" or values is not None:
            expect(len(values) == n, f"{n} {name}", len(values))
            expect(all(isinstance(value, str) for value in values), f"{name} of str", values[0])
    spec = dataset.spec
    expect(isinstance(spec, DataSpec), "spec, a DataSpec", type(spec).__name__)
    expect(DataSpec.from_dict(spec.to_dict()) == spec, "a spec that run.toml can hold", spec)
    said, has = "text" in entry.component.provides, spec.text > 0
    expect(said == has, "provides={'text'} if and only if spec.text is a width", f"spec.text = {spec.text}")
    expect(not has or dataset.captions is not None, "captions, whose vectors the records hold", dataset.captions)
    takes = entry.component.modality
    expect(not takes or spec.modality in takes, f"data of modality {' or '.join(sorted(takes))}", spec.modality)


@check("labels are int64 [len], indices into spec.classes; None, and no classes, where there are none")
def check_dataset_labels(entry: Entry, options: Options = NO_OPTIONS) -> None:
    dataset = _build(entry, options)
    labels, classes = dataset.labels, dataset.spec.classes
    expect(
        (labels is None) == (not classes),
        "labels if and only if spec.classes",
        f"labels {'None' if labels is None else 'there'}, {len(classes)} classes",
    )
    if labels is None:
        raise Skip("it has no labels")
    expect(
        labels.dtype == np.int64 and labels.shape == (len(dataset),),
        f"int64 [{len(dataset)}]",
        f"{labels.dtype} {list(labels.shape)}",
    )
    low, high = int(labels.min()), int(labels.max())
    expect(low >= 0 and high < len(classes), f"labels from 0 to {len(classes) - 1}", f"{low} to {high}")
    expect(len(set(classes)) == len(classes), "classes of different names", classes)


@check(
    "decode gives 'real' ('source', 'text' where the spec has them): images uint8 [C, H, W] from 0 to 255, else finite float32"
)
def check_dataset_decode(entry: Entry, options: Options = NO_OPTIONS) -> None:
    dataset = _build(entry, options)
    fields = fields_of(dataset.spec)
    records = [dataset.decode(i) for i in _sampled(dataset)]
    for record in records:
        expect(set(record) == set(fields), f"fields {', '.join(sorted(fields))}", ", ".join(sorted(record)))
        for name, (shape, dtype) in fields.items():
            value = record[name]
            fits = value.shape == shape and value.dtype == dtype
            expect(fits, f"'{name}' {dtype} {list(shape)}", f"{value.dtype} {list(value.shape)}")
            expect(bool(np.isfinite(value).all()), f"finite values in '{name}'", "NaN or infinity")
    for name, (_, dtype) in fields.items():
        highest = max(int(record[name].max()) for record in records) if dtype == np.uint8 else 255
        expect(
            highest > 1, f"'{name}' from 0 to 255", f"nothing above {highest}: floats in [0, 1] that were cut to whole numbers?"
        )


@check("decode is a function of the index: again, in another order, in parallel, and in another instance; arrays() agrees")
def check_dataset_deterministic(entry: Entry, options: Options = NO_OPTIONS) -> None:
    dataset = _build(entry, options)
    indices = _sampled(dataset)
    first = [dataset.decode(i) for i in indices]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(dataset.decode, reversed(indices)))[::-1]
    other = _build(entry, options)
    expect(list(other.names) == list(dataset.names), "the same names in the same order from another instance", "others")
    arrays = dataset.arrays()
    ways = [("again", [dataset.decode(i) for i in indices]), ("in parallel", parallel)]
    ways.append(("in another instance", [other.decode(i) for i in indices]))
    if arrays is not None:
        ways.append(("from arrays()", [{name: values[i] for name, values in arrays.items()} for i in indices]))
    for how, records in ways:
        wrong = [dataset.names[i] for i, one, two in zip(indices, first, records, strict=True) if not _equal(one, two)]
        expect(not wrong, f"the same record {how}", f"another for {', '.join(wrong[:3])}")


@check("the constructor reads names, headers and options; it decodes nothing")
def check_dataset_is_lazy(entry: Entry, options: Options = NO_OPTIONS) -> None:
    target = get_registry().load(entry)
    if not (isinstance(target, type) and issubclass(target, Dataset)):
        raise Skip("its target is a function, whose class is not known before it is called")
    with _decoding_noted(target) as seen:
        _build(entry, options)
    expect(not seen, "no pixel decoded while it is built", f"a call of {', '.join(sorted(set(seen)))}")


@check("fingerprint is a hex digest: the same for the same data and options, another wherever the decoded records differ")
def check_dataset_fingerprint(entry: Entry, options: Options = NO_OPTIONS) -> None:
    dataset = _build(entry, options)
    print_ = dataset.fingerprint()
    hexadecimal = isinstance(print_, str) and len(print_) >= 16 and set(print_) <= set(string.hexdigits)
    expect(hexadecimal, "a hex digest of 16 digits or more", print_)
    expect(_build(entry, options).fingerprint() == print_, "the same from another instance", "another")
    for name, value in alternatives(entry, options):
        try:
            other = _build(entry, {**options, name: value})
            if other.fingerprint() != print_:
                continue
            same = list(other.names) == list(dataset.names) and other.spec.shape == dataset.spec.shape
            same = same and all(_equal(dataset.decode(i), other.decode(i)) for i in _sampled(dataset))
        except (GanzooError, ValueError):
            continue  # not every option takes every value
        expect(
            same,
            f"another fingerprint with {name}={value}, which gives other records",
            "the same: the cache would serve the wrong ones",
        )


@check("draw writes a picture of samples of its spec")
def check_dataset_draws(entry: Entry, options: Options = NO_OPTIONS) -> None:
    dataset = _build(entry, options)
    samples = np.random.default_rng(0).uniform(-1, 1, (4, *dataset.spec.shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "samples.png")
        dataset.draw(samples, path, columns=2)
        expect(path.is_file() and path.read_bytes()[:4] == b"\x89PNG", "a PNG where it was told to write", "none")


def _build(entry: Entry, options: Options) -> Dataset:
    needed = [option.name for option in options_of(get_registry().load(entry)).values() if option.required]
    if missing := [name for name in needed if name not in options]:
        raise Skip(f"it needs {', '.join(missing)}: give options")
    dataset: Dataset = build(entry, None, options)
    expect(isinstance(dataset, Dataset), "a ganzoo.interfaces.Dataset", type(dataset).__name__)
    return dataset


def _sampled(dataset: Dataset) -> list[int]:
    """Some indices, evenly over the records."""
    return sorted(set(np.linspace(0, len(dataset) - 1, _LOOKED_AT).round().astype(int).tolist()))


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(value, other[name]) for name, value in one.items())


@contextmanager
def _decoding_noted(target: type[Dataset]) -> Iterator[list[str]]:
    """The calls, by name, of what turns files into records: the data set's own methods and Pillow's decoder."""
    from PIL import ImageFile

    seen: list[str] = []
    places = [(target, "decode"), (target, "arrays"), (ImageFile.ImageFile, "load")]
    kept = [(owner, name, vars(owner).get(name), getattr(owner, name)) for owner, name in places]

    def noting(name: str, method: Any) -> Any:
        def call(self: Any, *args: Any, **named: Any) -> Any:
            seen.append(name)
            return method(self, *args, **named)

        return call

    for owner, name, _, method in kept:
        setattr(owner, name, noting(f"{owner.__name__}.{name}", method))
    try:
        yield seen
    finally:
        for owner, name, own, _ in kept:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)


CHECKS = (
    check_dataset_records,
    check_dataset_labels,
    check_dataset_decode,
    check_dataset_deterministic,
    check_dataset_is_lazy,
    check_dataset_fingerprint,
    check_dataset_draws,
)
