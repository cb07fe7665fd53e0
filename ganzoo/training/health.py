"""Plain words when a training goes the way trainings go wrong, with the numbers behind them. Each is said once an episode."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

_TICKS = 3  # in a row, before anything is said


class Health:
    """Looks at a tick's statistics; knows their names, and no GAN."""

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}
        self._grads: list[float] = []
        self._seen = False  # variety; a new generator has none, which is no collapse

    def look(self, stats: Mapping[str, float], classes: bool, progress: float) -> list[str]:
        """What to say after this tick, `progress` (0 to 1) into the budget: usually nothing."""
        self._seen = self._seen or progress > 0.25 or stats.get("diversity", 0) > 0.6
        said = []
        for name, message in self._signs(stats, classes):
            self._streaks[name] = self._streaks.get(name, 0) + 1 if message else 0
            if message and self._streaks[name] == _TICKS:
                said.append(message)
        if "G/grad" in stats:
            self._grads = [*self._grads[-199:], stats["G/grad"]]
        return said

    def _signs(self, stats: Mapping[str, float], classes: bool) -> list[tuple[str, str]]:
        out = []
        wins = stats.get("D/wins")
        if wins is not None:
            out.append(("wins", wins > 0.998 and
                f"D wins outright: it rates {wins:.1%} of the reals above their fakes (D's mean output: reals {stats.get('D/real', 0):.3g}, "
                f"fakes {stats.get('D/fake', 0):.3g}). Weaken it: a regularizer (ganzoo list regularizer), an augmentation, "
                f"a lower --set D.lr, a narrower --disc" or ""))
        grad = stats.get("G/grad")
        if grad is not None and len(self._grads) >= 5:
            usual = median(self._grads)
            out.append(("vanishing", grad < 1e-3 * usual and
                f"G's gradient vanishes: its norm is {grad:.2g}, usually {usual:.2g}. G no longer learns; another loss (ganzoo list loss) "
                f"or a weaker D keeps it alive" or ""))
        diversity = stats.get("diversity")
        if diversity is not None:
            where = "within a class" if classes else "within a batch"
            out.append(("diversity", self._seen and diversity < 0.4 and
                f"diversity {where} collapses: two fakes are {diversity:.2f} times as far apart as two reals. Packing, minibatch "
                f"statistics, a gradient penalty on reals or more data help (ganzoo list regularizer)" or ""))
        return out
