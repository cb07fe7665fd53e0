"""Batches, drawn in an order that is a function of (seed, position) alone."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.cache import Store, available_memory
from ganzoo.errors import UsageError
from ganzoo.interfaces import Batch

_UPLOAD = 64 << 20  # bytes copied to the device at once: a memory map is never in main memory whole
_AHEAD = 2  # batches that the reading thread keeps ready


class Sampler:
    """Draws batches of a store: field -> float32 on the device (images in [-1, 1]), "labels" int64 where there are any.

    `position` counts the records drawn over all ranks. Epoch e is a permutation by (seed, e); epochs follow each other without
    a gap, inside a batch if need be. With `flip` each draw of an image is mirrored or not, all images of a record alike. A
    batch is of `batch` records over all ranks, and rank r takes the r-th of `world` equal slices. The records lie on the device
    where they fit into a quarter of its free memory (`in_memory` decides otherwise); else a thread reads ahead from the memory
    map. Both give the same batches, bit for bit, and neither waits for the device. `rows` are the records that are drawn, where
    not all are.
    """

    def __init__(
        self,
        store: Store,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        flip: bool = False,
        in_memory: bool | None = None,
        channels_last: bool = False,
        rows: np.ndarray[Any, Any] | None = None,
    ) -> None:
        if batch < 1 or batch % world:
            raise UsageError(f"--batch {batch} must be a multiple of the number of processes, {world}")
        if seed < 0:
            raise UsageError(f"--seed {seed} must be at least 0")
        self.position = 0
        self._store, self._batch, self._share, self._rank = store, batch, batch // world, rank
        self._device = torch.device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.in_memory = self._fits() if in_memory is None else in_memory
        self._rows = np.arange(len(store)) if rows is None else rows
        self._labels: Tensor | None = None
        self._order = _Order(self._rows, seed, flip, self._device if self.in_memory else torch.device("cpu"))
        if self.in_memory:
            self._fields = {name: _on_device(field, self._device) for name, field in store.fields.items()}
            if store.labels is not None:
                self._labels = torch.from_numpy(np.array(store.labels, np.int64)).to(self._device)
        else:
            self._reader = ThreadPoolExecutor(1, "ganzoo-data", initializer=self._join)
            self._ahead: deque[Future[tuple[Batch, Tensor | None]]] = deque()

    def draw(self) -> Batch:
        """This rank's slice of the next batch."""
        if self.in_memory:
            raw, flips = self._gather(self.position)
        else:
            raw, flips = self._read_ahead()
        self.position += self._batch
        return {name: self._finish(value, flips) for name, value in raw.items()}

    def labels(self) -> Tensor | None:
        """[N] int64: those of the whole next batch, over all ranks, where there are any; `draw` has not gone on yet."""
        if self._store.labels is None:
            return None
        order, _ = self._order.take(self.position, self._batch)
        if self._labels is None:
            picked = torch.from_numpy(self._store.labels[order.numpy()].astype(np.int64))
            return picked.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else picked
        return self._labels.index_select(0, order)

    def records(self, count: int) -> Batch:
        """At most `count` records of those that are drawn, evenly spaced over them, as `pick` gives them."""
        return self.pick(self._rows[np.linspace(0, len(self._rows) - 1, min(count, len(self._rows))).round().astype(np.int64)])

    def pick(self, rows: np.ndarray[Any, Any]) -> Batch:
        """These records of the store, as `draw` gives them; none is mirrored."""
        raw = {name: torch.from_numpy(np.array(field[rows])).to(self._device) for name, field in self._store.fields.items()}
        if self._store.labels is not None:
            raw["labels"] = torch.from_numpy(self._store.labels[rows].astype(np.int64)).to(self._device)
        return {name: self._finish(value, None) for name, value in raw.items()}

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]
        if not self.in_memory:
            self._ahead.clear()

    def _join(self) -> None:
        """The reading thread pins memory: on this device, for a thread of its own begins on the first."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device if self._device.index is not None else 0)

    def _fits(self) -> bool:
        free: int = torch.cuda.mem_get_info(self._device)[0] if self._device.type == "cuda" else available_memory()
        needed: int = sum(field.nbytes for field in self._store.fields.values())
        return needed * 4 < free

    def _gather(self, position: int) -> tuple[Batch, Tensor | None]:
        order, flips = self._order.take(position + self._rank * self._share, self._share)
        raw = {name: field.index_select(0, order) for name, field in self._fields.items()}
        if self._labels is not None:
            raw["labels"] = self._labels.index_select(0, order)
        return raw, flips

    def _read_ahead(self) -> tuple[Batch, Tensor | None]:
        while len(self._ahead) <= _AHEAD:
            position = self.position + len(self._ahead) * self._batch
            self._ahead.append(self._reader.submit(self._read, position))
        raw, flips = self._ahead.popleft().result()
        # The buffers are pinned, so these copies are queued like kernels; the allocator keeps them until the copies are done.
        moved = {name: value.to(self._device, non_blocking=True) for name, value in raw.items()}
        return moved, None if flips is None else flips.to(self._device, non_blocking=True)

    def _read(self, position: int) -> tuple[Batch, Tensor | None]:
        """In the reading thread: a batch's rows, copied out of the memory map."""
        order, flips = self._order.take(position + self._rank * self._share, self._share)
        rows = order.numpy()
        pinned = self._device.type == "cuda"
        raw = {}
        for name, field in self._store.fields.items():
            out = torch.empty((len(rows), *field.shape[1:]), dtype=_DTYPES[field.dtype.type], pin_memory=pinned)
            out.numpy()[...] = field[rows]  # np.take would first copy the whole of a field that is a transposed view
            raw[name] = out
        if self._store.labels is not None:
            labels = torch.from_numpy(self._store.labels[rows].astype(np.int64))
            raw["labels"] = labels.pin_memory() if pinned else labels
        return raw, flips.pin_memory() if pinned and flips is not None else flips

    def _finish(self, value: Tensor, flips: Tensor | None) -> Tensor:
        if value.dtype != torch.uint8:
            return value
        if flips is not None:
            value = torch.where(flips[:, None, None, None], value.flip(-1), value)
        return value.to(torch.float32, memory_format=self._format).div_(127.5).sub_(1)


_DTYPES = {np.uint8: torch.uint8, np.float32: torch.float32}


class _Order:
    """Which record stands at a position, and whether it is mirrored there. An epoch's order is moved to the device once."""

    def __init__(self, rows: np.ndarray[Any, Any], seed: int, flip: bool, device: torch.device) -> None:
        self._rows, self._count, self._seed, self._flip, self._device = rows, len(rows), seed, flip, device
        self._epochs: dict[int, tuple[Tensor, Tensor]] = {}

    def take(self, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Records and flips [count] from position `start` on."""
        orders, flips = [], []
        end = start + count
        while start < end:
            epoch, offset = divmod(start, self._count)
            size = min(end - start, self._count - offset)
            order, flip = self._epoch(epoch)
            orders.append(order[offset : offset + size])
            flips.append(flip[offset : offset + size])
            start += size
        if len(orders) == 1:
            return orders[0], flips[0] if self._flip else None
        return torch.cat(orders), torch.cat(flips) if self._flip else None

    def _epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        if epoch not in self._epochs:
            # Raw output of Philox is the same in every version of numpy; `Generator.permutation` need not be.
            keys = np.random.Philox(np.random.SeedSequence([self._seed, epoch])).random_raw(self._count)
            order = np.argsort(keys, kind="stable")
            flips = (keys[order] & 1).astype(bool)
            while len(self._epochs) > 1:
                self._epochs.pop(min(self._epochs))
            self._epochs[epoch] = (self._move(torch.from_numpy(self._rows[order])), self._move(torch.from_numpy(flips)))
        return self._epochs[epoch]

    def _move(self, values: Tensor) -> Tensor:
        return (
            values.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else values.to(self._device)
        )


def _on_device(field: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    out = torch.empty(field.shape, dtype=_DTYPES[field.dtype.type], device=device)
    step = max(1, _UPLOAD // max(1, field[:1].nbytes))
    for start in range(0, len(field), step):
        out[start : start + step] = torch.from_numpy(np.array(field[start : start + step], order="C"))
    return out
