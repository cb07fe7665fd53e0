"""The contract of a data set. Needs numpy, not torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ganzoo.plugin import DataSpec


@dataclass(frozen=True, slots=True)
class Modes:
    """Of samples, the modes of the data that they belong to.

    count     of the modes that there are
    index     int64 [N], the mode that each sample is nearest to
    inside    bool [N], whether the sample is as near to it as the data's own are
    accuracy  of the classifier that told them, on records that it had not seen; None where they are computed
    """

    count: int
    index: np.ndarray[Any, Any]
    inside: np.ndarray[Any, Any]
    accuracy: float | None = None


class Dataset:
    """Records that are decoded once. Built as `target(**options)`; the constructor reads names, headers and options, no pixels.

    spec      what one sample is; `spec.classes` only where `labels` is not None
    names     one name a record (a file's, relative), in a fixed order
    labels    int64 [len], an index into spec.classes; None without classes
    captions  one a record, or None; always there where spec.text is
    notices   what the user should hear once: a size that was chosen, 16 bits reduced to 8
    res       image data sets take the option `res: tuple[int, int] | None` (height, width); None: the data's own

    A field is what a batch holds: "real", "source" where spec.source is given, and "text", the vector [T] of the caption, where
    spec.text is T. Images are uint8 [C, H, W] of the spec's shape, anything else float32. Labels, captions and names stay with
    their records when some are skipped.
    """

    spec: DataSpec
    names: Sequence[str]
    labels: np.ndarray[Any, Any] | None = None
    captions: Sequence[str] | None = None
    notices: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """Hex digest of content and settings: the key of the cache. The same data and options give the same on any machine."""
        raise NotImplementedError

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        """One record's fields. Called in parallel. What it raises names the record as unreadable; the record is skipped."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """All records' fields at once, where that is cheaper than decoding one by one (arrays, point sets); else None."""
        return None

    def modes(self, samples: np.ndarray[Any, Any]) -> Modes | None:
        """Which modes samples [N, *spec.shape], as `decode` gives them, belong to; None where the modes cannot be counted."""
        return None

    def draw(
        self, samples: np.ndarray[Any, Any], path: Path, *, columns: int = 8, real: np.ndarray[Any, Any] | None = None
    ) -> None:
        """Write a picture of samples [N, *spec.shape] (images: float in [-1, 1]): image grid, scatter plot or waveforms.

        `real` are records to compare with: a scatter plot shows them underneath.
        """
        from ganzoo.data.pictures import draw

        draw(samples, self.spec, path, columns=columns, real=real)
