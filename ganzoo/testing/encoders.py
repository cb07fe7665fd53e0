"""Checks of encoders: `check_...(entry, options)`, on a few captions, odd ones among them."""

from __future__ import annotations

import string
from concurrent.futures import ThreadPoolExecutor

import torch

from ganzoo.errors import GanzooError, UsageError
from ganzoo.interfaces import Encoder
from ganzoo.registry import Entry
from ganzoo.testing.cases import NO_OPTIONS, Options, alternatives, build, far_apart, other_generators_untouched
from ganzoo.testing.contracts import Untried, check, expect
from ganzoo.testing.networks import ROUNDING

CAPTIONS = ["a red apple", "two blue cars in the rain", "grinning face with big eyes", "an apple", "flag of Norway"]
ODD = ["", " \n\t", "Äpfel & 猫 😀", "no. 7!", "word " * 1000]


@check(
    "called with N texts it gives float32 [N, width] on the CPU, finite, without a graph; none and an empty text are texts too"
)
def check_encoder_vectors(entry: Entry, options: Options = NO_OPTIONS) -> None:
    encoder = _build(entry, options)
    width = getattr(encoder, "width", None)
    expect(isinstance(width, int) and width > 0, "width, a whole number from 1", width)
    for texts in ([], CAPTIONS[:1], [*CAPTIONS, *ODD], ODD[:1], tuple(CAPTIONS)):
        vectors = encoder(texts)
        expect(isinstance(vectors, torch.Tensor), "a Tensor", type(vectors).__name__)
        seen = f"{vectors.dtype} {list(vectors.shape)} on {vectors.device}"
        right = (vectors.dtype, tuple(vectors.shape), vectors.device.type) == (torch.float32, (len(texts), width), "cpu")
        expect(right, f"torch.float32 {[len(texts), width]} on cpu", seen)
        expect(not vectors.requires_grad, "vectors without a graph", "some that require a gradient")
        expect(bool(vectors.isfinite().all()), "finite vectors", "NaN or infinity")


@check("different texts have different vectors")
def check_encoder_apart(entry: Entry, options: Options = NO_OPTIONS) -> None:
    vectors = _build(entry, options)(CAPTIONS)
    for i, text in enumerate(CAPTIONS):
        same = [other for j, other in enumerate(CAPTIONS[:i]) if torch.equal(vectors[i], vectors[j])]
        expect(not same, f"another vector for '{text}'", f"that of '{same[0]}'" if same else "")


@check("a vector is a function of its text: again, whatever stands beside it, from threads and from another instance; no draws")
def check_encoder_deterministic(entry: Entry, options: Options = NO_OPTIONS) -> None:
    encoder, state = _build(entry, options), torch.get_rng_state()
    texts = [*CAPTIONS, *ODD]
    with other_generators_untouched():
        first = encoder(texts)
        expect(torch.equal(first, encoder(texts)), "the same vectors again", "others")
        expect(torch.equal(first, _build(entry, options)(texts)), "the same vectors from another instance", "others")
    expect(torch.equal(state, torch.get_rng_state()), "no random draw", "torch's global random state moved")
    alone = torch.cat([encoder([text]) for text in texts])
    with ThreadPoolExecutor(4) as pool:
        threads = torch.cat(list(pool.map(lambda text: encoder([text]), texts)))
    expect(torch.equal(alone, threads), "the same vectors in threads", "others")
    for what, vectors in (("by itself", alone), ("among others", encoder(texts[::-1]).flip(0))):
        for text, one, other in zip(texts, first, vectors, strict=True):
            apart = far_apart(one, other)
            expect(apart <= ROUNDING, f"the same vector of '{text:.30}' {what}", f"{apart:.2g} of the largest value apart")


@check("fingerprint is a hex digest: the same for the same options, another wherever the vectors differ")
def check_encoder_fingerprint(entry: Entry, options: Options = NO_OPTIONS) -> None:
    encoder = _build(entry, options)
    print_ = encoder.fingerprint()
    hexadecimal = isinstance(print_, str) and len(print_) >= 16 and set(print_) <= set(string.hexdigits)
    expect(hexadecimal, "a hex digest of 16 digits or more", print_)
    expect(_build(entry, options).fingerprint() == print_, "the same from another instance", "another")
    vectors = encoder(CAPTIONS)
    for name, value in alternatives(entry, options):
        try:
            other = build(entry, None, {**options, name: value})
            same = other.fingerprint() != print_ or torch.equal(other(CAPTIONS), vectors)
        except (GanzooError, ValueError):
            continue  # not every option takes every value
        expect(
            same, f"another fingerprint with {name}={value}, which gives other vectors", "the same: caches would mix them up"
        )


def _build(entry: Entry, options: Options) -> Encoder:
    try:
        encoder: Encoder = build(entry, None, options)
    except UsageError as err:  # it says what is missing here: weights, or a package that reads them
        raise Untried(str(err)) from None
    expect(isinstance(encoder, Encoder), "a ganzoo.interfaces.Encoder", type(encoder).__name__)
    return encoder


CHECKS = (
    check_encoder_vectors,
    check_encoder_apart,
    check_encoder_deterministic,
    check_encoder_fingerprint,
)
