from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ganzoo.data.cache import Store
from ganzoo.data.sampling import Sampler
from ganzoo.errors import UsageError
from ganzoo.plugin import DataSpec


def store_of(count: int, *, source: bool = False, labels: bool = True, size: tuple[int, int] = (4, 6)) -> Store:
    """Image i holds i in its first pixel (as two bytes), noise elsewhere; its label is i."""
    spec = DataSpec(
        "image", (3, *size), classes=tuple(map(str, range(count))), source=DataSpec("image", (1, *size)) if source else None
    )
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (count, 3, *size), dtype=np.uint8)
    fields = {"real": real}
    if source:
        fields["source"] = real[:, :1] ^ 255
    return Store(spec, fields, list(map(str, range(count))), np.arange(count) if labels else None, None, [], [])


def drawn(sampler: Sampler, batches: int) -> list[int]:
    return torch.cat([sampler.draw()["labels"] for _ in range(batches)]).tolist()


@pytest.mark.parametrize(("count", "batch"), [(100, 20), (100, 7), (10, 64), (1, 3), (7, 7)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_every_epoch_sees_every_image_once(count: int, batch: int, in_memory: bool) -> None:
    sampler = Sampler(store_of(count), batch=batch, seed=3, in_memory=in_memory)
    seen = drawn(sampler, 2 + 3 * count // batch)
    assert sampler.position == len(seen)
    epochs = [seen[start : start + count] for start in range(0, len(seen) - count + 1, count)]
    assert len(epochs) >= 3
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count == 100:
        assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[2])
        assert drawn(Sampler(store_of(count), batch=batch, seed=4), 5) != seen[: 5 * batch]


def test_each_order_is_equally_likely() -> None:
    orders = [tuple(drawn(Sampler(store_of(3), batch=3, seed=seed), 1)) for seed in range(1200)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert max(abs(count - 200) for count in counts) < 5 * np.sqrt(200 * 5 / 6)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("flip", [True, False])
def test_the_values_are_the_images(in_memory: bool, flip: bool) -> None:
    store = store_of(50, source=True)
    sampler = Sampler(store, batch=30, seed=1, flip=flip, in_memory=in_memory)
    flipped = 0
    for _ in range(20):
        batch = sampler.draw()
        assert batch["labels"].dtype == torch.int64
        for index, real, source in zip(batch["labels"].tolist(), batch["real"], batch["source"], strict=True):
            pixels = store.fields["real"][index]
            expected = (pixels / 127.5 - 1).astype(np.float32)
            mirrored = not np.allclose(real, expected, rtol=0, atol=1e-6)
            flipped += mirrored
            if mirrored:
                expected = expected[..., ::-1]
            assert np.abs(real.numpy() - expected).max() < 1e-6
            assert np.abs(source.numpy() + expected[:1]).max() < 1e-6  # the inverted image, mirrored with it
    assert abs(flipped - 300) < 5 * np.sqrt(600 / 4) if flip else flipped == 0


def test_flips_do_not_depend_on_the_image() -> None:
    """Over many epochs each image is mirrored in half of them."""
    store = store_of(8)
    sampler = Sampler(store, batch=8, seed=0, flip=True)
    plain = torch.from_numpy(store.fields["real"]) / 127.5 - 1
    mirrored = np.zeros(8)
    for _ in range(1000):
        batch = sampler.draw()
        same = (batch["real"] - plain[batch["labels"]]).abs().amax((1, 2, 3)) < 1e-6
        mirrored[batch["labels"][~same].numpy()] += 1
    assert np.abs(mirrored - 500).max() < 5 * np.sqrt(250)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_are_one(in_memory: bool, world: int) -> None:
    whole = Sampler(store_of(50, source=True), batch=16, seed=5, flip=True)
    ranks = [
        Sampler(store_of(50, source=True), batch=16, seed=5, flip=True, rank=rank, world=world, in_memory=in_memory)
        for rank in range(world)
    ]
    for _ in range(10):
        labels = [rank.labels() for rank in ranks]
        expected, parts = whole.draw(), [rank.draw() for rank in ranks]
        assert all(torch.equal(of_all, expected["labels"]) for of_all in labels)
        assert {rank.position for rank in ranks} == {whole.position}
        for name, value in expected.items():
            assert torch.equal(torch.cat([part[name] for part in parts]), value)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("labels", [True, False])
def test_streaming_equals_memory_bit_for_bit(channels_last: bool, labels: bool, tmp_path: Any) -> None:
    store = store_of(200, source=True, labels=labels)
    mapped = {}
    for name, field in store.fields.items():
        np.save(tmp_path / f"{name}.npy", field)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    on_disk = Store(store.spec, mapped, store.names, store.labels, None, [], [])
    options: dict[str, Any] = {"batch": 24, "seed": 2, "flip": True, "channels_last": channels_last}
    one, two = Sampler(on_disk, in_memory=True, **options), Sampler(on_disk, in_memory=False, **options)
    for _ in range(30):
        first, second = one.draw(), two.draw()
        assert set(first) == {"real", "source"} | ({"labels"} if labels else set())
        for name in first:
            assert torch.equal(first[name], second[name])
            assert first[name].stride() == second[name].stride()
        assert first["real"].is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        assert first["real"].dtype == torch.float32


@pytest.mark.parametrize("in_memory", [True, False])
def test_it_goes_on_where_it_was(in_memory: bool) -> None:
    options: dict[str, Any] = {"batch": 12, "seed": 9, "flip": True, "in_memory": in_memory}
    straight = Sampler(store_of(50), **options)
    before = [straight.draw() for _ in range(7)]
    state = straight.state_dict()
    assert state == {"position": 84}
    after = [straight.draw() for _ in range(7)]

    other = Sampler(store_of(50), **options)
    for _ in range(3):  # it has read ahead from elsewhere
        other.draw()
    other.load_state_dict(state)
    for expected in after:
        batch = other.draw()
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    other.load_state_dict({"position": 0})
    assert torch.equal(other.draw()["real"], before[0]["real"])


def test_points_are_left_alone() -> None:
    values = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
    store = Store(DataSpec("points", (2,)), {"real": values}, list(map(str, range(40))), None, None, [], [])
    for in_memory in (True, False):
        batch = Sampler(store, batch=40, seed=0, in_memory=in_memory).draw()
        assert set(batch) == {"real"}
        assert np.array_equal(np.sort(batch["real"].numpy(), 0), np.sort(values, 0))
        batch["real"].zero_()  # what was drawn is the caller's own
    assert np.abs(values).min() > 0


def test_a_view_of_a_file_in_another_layout(tmp_path: Any) -> None:
    store = store_of(30)
    np.save(tmp_path / "nhwc.npy", store.fields["real"].transpose(0, 2, 3, 1))
    view = np.load(tmp_path / "nhwc.npy", mmap_mode="r").transpose(0, 3, 1, 2)
    mapped = Store(store.spec, {"real": view}, store.names, store.labels, None, [], [])
    for in_memory in (True, False):
        one, two = Sampler(store, batch=8, seed=0), Sampler(mapped, batch=8, seed=0, in_memory=in_memory)
        for _ in range(5):
            assert torch.equal(one.draw()["real"], two.draw()["real"])


def test_what_fits_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(100, labels=False)  # 7,200 bytes
    for free, fits in ((28_801, True), (28_800, False), (0, False)):
        monkeypatch.setattr("ganzoo.data.sampling.available_memory", lambda free=free: free)
        assert Sampler(store, batch=4, seed=0).in_memory == fits
    assert Sampler(store, batch=4, seed=0, in_memory=True).in_memory


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple of the number of processes, 4"):
        Sampler(store_of(5), batch=6, seed=0, world=4)
    with pytest.raises(UsageError, match="--batch 0"):
        Sampler(store_of(5), batch=0, seed=0)
    with pytest.raises(UsageError, match="--seed -1"):
        Sampler(store_of(5), batch=4, seed=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("in_memory", [True, False])
def test_on_cuda_nothing_waits_and_the_batches_are_the_cpus(in_memory: bool) -> None:
    options: dict[str, Any] = {"batch": 32, "seed": 1, "flip": True, "channels_last": True}
    here = Sampler(store_of(100, source=True), **options)
    there = Sampler(store_of(100, source=True), device="cuda", in_memory=in_memory, **options)
    try:
        torch.cuda.set_sync_debug_mode("error")
        batches = [there.draw() for _ in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch in batches:
        expected = here.draw()
        for name in expected:  # a GPU divides by a number by multiplying with its inverse
            torch.testing.assert_close(batch[name].cpu(), expected[name], rtol=0, atol=2e-7)
