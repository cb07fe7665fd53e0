"""Pictures of a report by Pillow: every seed a dot, and the modes over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from ganzoo.bench.tables import Report, Row

_FINE = 4  # drawn this much larger, then reduced: Pillow's own lines and dots have stairs
_SEED, _MEAN, _AXIS, _TEXT, _IDEAL = "#1f5fbf", "#c0392b", "#e6e6e6", "#404040", "#2e8b57"
_LETTER, _PANEL, _GAP = 6.5, 210, 40  # widths: of a letter, of a panel, between panels
_ROW, _HEAD, _FOOT = 34, 26, 22  # heights: of a variant, of the titles, of the numbers below
_DOT = 2.4  # radius
_WIDE, _HIGH, _ACROSS = 210, 120, 4  # of the curves: size of a panel, and how many stand side by side


def dots(report: Report) -> Image.Image:
    """Modes, quality and reverse KL at the last look: a row a variant, a dot a seed, red the mean, green what the data have."""
    ideal = report.data["looks"][-1] if report.data else {}
    top = math.log(max(report.count, 2))
    low = min([report.floor / 3, *(max(value, 1e-6) for row in report.rows for value in row.last("kl"))])
    panels: list[tuple[str, str, Callable[[float], float], list[float]]] = [
        (f"modes of {report.count}", "modes", lambda v: v / report.count, _ticks(report.count)),
        (f"{report.suite.near}", "quality", lambda v: v, [0, 0.25, 0.5, 0.75, 1]),
        ("reverse KL", "kl", lambda v: math.log(max(v, low) / low) / math.log(top / low), _powers(low, top)),
    ]
    if report.suite.near is None:
        del panels[1]
    height = _HEAD + _ROW * len(report.rows) + _FOOT
    names = _LETTER * max(len(row.label) for row in report.rows) + _GAP
    canvas = _Canvas(names + (_PANEL + _GAP) * len(panels), height)
    for number, row in enumerate(report.rows):
        canvas.text(4, _HEAD + _ROW * (number + 0.5), row.label, "lm")
    for number, (title, figure, place, ticks) in enumerate(panels):
        left = names + (_PANEL + _GAP) * number

        def x(value: float, left: float = left, place: Callable[[float], float] = place) -> float:
            return left + _PANEL * min(max(place(value), 0.0), 1.0)

        canvas.text(left, _HEAD / 2, title, "lm")
        for tick in ticks:
            canvas.line((x(tick), _HEAD), (x(tick), height - _FOOT), _AXIS)
            canvas.text(x(tick), height - _FOOT / 2, f"{tick:.0%}" if figure == "quality" else f"{tick:g}", "mm")
        if figure in ideal:
            canvas.line((x(ideal[figure]), _HEAD), (x(ideal[figure]), height - _FOOT), _IDEAL)
        for at, row in enumerate(report.rows):
            mean = x(sum(row.last(figure)) / len(row.lines))
            canvas.line((mean, _HEAD + _ROW * (at + 0.1)), (mean, _HEAD + _ROW * (at + 0.9)), _MEAN, 2)
            _row_of_dots(canvas, [x(value) for value in row.last(figure)], _HEAD + _ROW * (at + 0.5))
    return canvas.finish()


def curves(report: Report) -> Image.Image:
    """Modes held at each look: a panel a variant, a line a seed, red the mean."""
    columns = min(_ACROSS, len(report.rows))
    lines = -(-len(report.rows) // columns)
    canvas = _Canvas(columns * (_WIDE + _GAP) + _GAP, lines * (_HIGH + _HEAD + _FOOT))
    for number, row in enumerate(report.rows):
        left = _GAP + number % columns * (_WIDE + _GAP)
        top = _HEAD + number // columns * (_HIGH + _HEAD + _FOOT)
        _curves_of(canvas, report, row, left, top)
    return canvas.finish()


def _curves_of(canvas: _Canvas, report: Report, row: Row, left: float, top: float) -> None:
    steps = [0, *(look["steps"] for look in row.lines[0]["looks"])]

    def place(step: float, modes: float) -> tuple[float, float]:
        return left + _WIDE * step / steps[-1], top + _HIGH * (1 - modes / report.count)

    canvas.text(left, top - _HEAD / 2, row.label, "lm")
    for tick in _ticks(report.count):
        canvas.line(place(0, tick), place(steps[-1], tick), _AXIS)
        canvas.text(left - 3, place(0, tick)[1], f"{tick:g}", "rm")
    for step in (0, steps[-1]):
        canvas.text(*_below(place(step, 0)), f"{step:,}", "mm" if step == 0 else "rm")
    paths = [[0, *held] for held in row.held]
    for path in paths:
        canvas.path([place(step, modes) for step, modes in zip(steps, path, strict=True)], _SEED, 0.75)
    means = [sum(values) / len(values) for values in zip(*paths, strict=True)]
    canvas.path([place(step, mean) for step, mean in zip(steps, means, strict=True)], _MEAN, 2)


def _below(place: tuple[float, float]) -> tuple[float, float]:
    return place[0], place[1] + _FOOT / 2


def _row_of_dots(canvas: _Canvas, places: Sequence[float], middle: float) -> None:
    """Dots that would hide each other stand above and below."""
    piles: dict[int, list[float]] = {}
    for x in sorted(places):
        piles.setdefault(round(x / (2 * _DOT)), []).append(x)
    for pile in piles.values():
        apart = min(2 * _DOT + 0.4, (_ROW - 4 * _DOT) / max(len(pile) - 1, 1))
        for i, x in enumerate(pile):
            canvas.dot(x, middle + apart * (i - (len(pile) - 1) / 2), _SEED)


def _ticks(count: int) -> list[float]:
    """Whole numbers from 0 to `count`, about five."""
    step = next(step for step in (1, 2, 5, 10, 25, 50, 100, 250, 1000, 10**9) if count / step <= 6)
    return [float(tick) for tick in range(0, count + 1, step)]


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten between."""
    return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


class _Canvas:
    """Lines and dots are drawn large and reduced; text is drawn after that, in Pillow's own font."""

    def __init__(self, width: float, height: float) -> None:
        self._size = round(width), round(height)
        self._image = Image.new("RGB", (self._size[0] * _FINE, self._size[1] * _FINE), "white")
        self._pen = ImageDraw.Draw(self._image)
        self._texts: list[tuple[tuple[float, float], str, str]] = []

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1) -> None:
        self.path([start, end], colour, width)

    def path(self, places: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        self._pen.line([(x * _FINE, y * _FINE) for x, y in places], colour, round(width * _FINE), joint="curve")

    def dot(self, x: float, y: float, colour: str) -> None:
        radius = _DOT * _FINE
        x, y = x * _FINE, y * _FINE
        self._pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour, "white", _FINE // 2)

    def text(self, x: float, y: float, words: str, anchor: str) -> None:
        self._texts.append(((x, y), words, anchor))

    def finish(self) -> Image.Image:
        picture = self._image.resize(self._size, Image.Resampling.BOX)
        pen = ImageDraw.Draw(picture)
        for place, words, anchor in self._texts:
            pen.text(place, words, _TEXT, anchor=anchor)
        return picture
