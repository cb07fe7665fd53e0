"""Plain words when a training goes the way trainings go wrong, with the numbers behind them. Each is said once an episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

_TICKS = 3  # in a row, before anything is said
_WELL = 10  # ticks in a row that end an episode


class Health:
    """Looks at a tick's statistics; knows their names, and no GAN."""

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}
        self._quiet: dict[str, int] = {}  # signs that were spoken of: healthy ticks until the next time
        self._grads: list[float] = []
        self._varied = False  # a new generator makes one picture, which is no collapse

    def look(self, stats: Mapping[str, float], classes: bool, progress: float) -> list[str]:
        """What to say after this tick, `progress` (0 to 1) into the budget: usually nothing."""
        self._varied = self._varied or progress > 0.25 or stats.get("diversity", 0) > 0.6
        signs = dict(self._signs(stats, classes))
        self._streaks = {sign: self._streaks.get(sign, 0) + 1 for sign in signs}
        self._quiet = {sign: _WELL if sign in signs else left - 1 for sign, left in self._quiet.items() if left}
        if "G/grad" in stats:
            self._grads = [*self._grads[-199:], stats["G/grad"]]
        new = [sign for sign, streak in self._streaks.items() if streak >= _TICKS and sign not in self._quiet]
        self._quiet.update(dict.fromkeys(new, _WELL))
        return [signs[sign] for sign in new]

    def _signs(self, stats: Mapping[str, float], classes: bool) -> Iterator[tuple[str, str]]:
        wins, grad, diversity = (stats.get(name) for name in ("D/wins", "G/grad", "diversity"))
        if wins is not None and wins > 0.998:
            yield (
                "D wins",
                (
                    f"D wins outright: it rates {wins:.1%} of the reals above their fakes (its mean output: reals "
                    f"{stats.get('D/real', 0):.3g}, fakes {stats.get('D/fake', 0):.3g}). Weaken it: a regularizer (ganzoo list "
                    f"regularizer), an augmentation, a lower --set D.lr, a narrower --disc"
                ),
            )
        usual = median(self._grads) if len(self._grads) >= 5 else 0.0
        if grad is not None and grad < 1e-3 * usual:
            yield (
                "G's gradient",
                (
                    f"G's gradient vanishes: its norm is {grad:.2g}, usually {usual:.2g}. G no longer learns; another loss "
                    f"(ganzoo list loss) or a weaker D keeps it alive"
                ),
            )
        if diversity is not None and self._varied and diversity < 0.4:
            where = "within a class" if classes else "within a batch"
            yield (
                "diversity",
                (
                    f"diversity {where} collapses: two fakes are {diversity:.2f} times as far apart as two reals. "
                    f"A regularizer against it (ganzoo list regularizer), a larger batch or more data help"
                ),
            )
