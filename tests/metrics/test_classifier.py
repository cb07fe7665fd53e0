"""The classifier of a data set's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganzoo.data import splits
from ganzoo.data.dataset import Dataset
from ganzoo.data.hashing import digest
from ganzoo.errors import UsageError
from ganzoo.interfaces import trained_classifier
from ganzoo.metrics import classifier
from ganzoo.plugin import DataSpec


class Halves(Dataset):
    """Noise that is bright above, below, on the left or on the right: four classes."""

    def __init__(self, count: int = 320, side: int = 12, channels: int = 1) -> None:
        random = np.random.default_rng(0)
        self.labels = np.arange(count) % 4
        self.images = random.integers(0, 100, (count, channels, side, side)).astype(np.uint8)
        for image, label in zip(self.images, self.labels, strict=True):
            half = side // 2
            places = (np.s_[:, :half], np.s_[:, half:], np.s_[:, :, :half], np.s_[:, :, half:])
            image[places[label]] += 100
        self.names = [str(i) for i in range(count)]
        self.spec = DataSpec("image", self.images.shape[1:], classes=("above", "below", "left", "right"))

    def fingerprint(self) -> str:
        return digest(self.images.tobytes().hex())

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {"real": self.images}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_learns_the_classes_and_says_how_well() -> None:
    data, random = Halves(), torch.get_rng_state()
    told = trained_classifier(data, epochs=8)
    assert torch.equal(random, torch.get_rng_state())
    images = torch.from_numpy(data.images)
    logits = told(images)
    assert logits.shape == (320, 4)
    assert told.accuracy > 0.9
    assert float((logits.argmax(1).numpy() == data.labels).mean()) > 0.9
    assert told.vectors(images).shape == (320, 128)
    assert not logits.requires_grad


def test_floats_are_the_same_images_and_let_gradients_through() -> None:
    told = trained_classifier(Halves(), epochs=1)
    images = torch.from_numpy(Halves().images[:5])
    floats = (images.float() / 127.5 - 1).requires_grad_()
    assert torch.equal(told(images), told(floats))
    told(floats).sum().backward()
    assert floats.grad is not None
    assert floats.grad.abs().max() > 0


def test_it_is_trained_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    calls = []
    first = trained_classifier(Halves(), epochs=1, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (3, 3)  # 9 tenths of 320 records, by their names, are three batches of 128
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "_train", lambda *args: pytest.fail("it was trained again"))
        again = trained_classifier(Halves(), epochs=1)
    assert again.accuracy == first.accuracy
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    [kept] = (cache / "classifiers").glob("*.safetensors")
    kept.write_bytes(b"damaged")
    assert trained_classifier(Halves(), epochs=1).accuracy == first.accuracy
    for other in ({"seed": 1}, {"held_out": 0.5}, {"epochs": 2}):
        trained_classifier(Halves(), **{"epochs": 1, **other})  # type: ignore[arg-type]
    assert len(list((cache / "classifiers").glob("*.safetensors"))) == 4


def test_other_labels_are_another_classifier(cache: Path) -> None:
    turned = Halves()
    turned.labels = turned.labels[::-1].copy()
    assert turned.fingerprint() == Halves().fingerprint()
    trained_classifier(Halves(), epochs=1)
    trained_classifier(turned, epochs=1)
    assert len(list((cache / "classifiers").glob("*.safetensors"))) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file"))
    assert trained_classifier(Halves(), epochs=1).accuracy >= 0


def test_it_can_be_asked_for_while_gradients_are_off() -> None:
    with torch.inference_mode():
        off = trained_classifier(Halves(), epochs=1, cache=False)
    on = trained_classifier(Halves(), epochs=1, cache=False)
    assert all(torch.equal(a, b) for a, b in zip(off.state_dict().values(), on.state_dict().values(), strict=True))


@pytest.mark.parametrize(("side", "channels"), [(2, 1), (40, 3)])
def test_sizes(side: int, channels: int) -> None:
    data = Halves(64, side, channels)
    assert trained_classifier(data, epochs=1)(torch.from_numpy(data.images)).shape == (64, 4)


def test_what_cannot_be_learned_is_refused() -> None:
    bare = Halves()
    bare.labels, bare.spec = None, bare.spec.replace(classes=())
    with pytest.raises(UsageError, match="at least two classes"):
        trained_classifier(bare)
    with pytest.raises(UsageError, match="held_out=1"):
        trained_classifier(Halves(), held_out=1)


def test_of_a_dozen_images_none_may_be_held_out() -> None:
    data = Halves(8)
    data.names = [name for name in map(str, range(100)) if _is_taught(name)][:8]
    assert np.isnan(trained_classifier(data, epochs=1).accuracy)


def _is_taught(name: str) -> bool:
    try:
        return bool(splits.chosen([name], "train", 0.1))
    except UsageError:
        return False
