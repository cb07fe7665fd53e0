"""An arena at a glance: a heat map of generators by discriminators, and samples in the same places. Drawn with Pillow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ganzoo.arena.store import Arena
from ganzoo.arena.table import Row, with_error
from ganzoo.data.pictures import save
from ganzoo.errors import DataError

_BEST, _WORST, _EMPTY, _HATCH = (31, 95, 191), (226, 234, 245), (250, 250, 250), (205, 205, 205)
_CELL, _PAD, _SIZE = (132, 60), 10, 14
_SHEET = 192  # pixels a side, at most, of a cell's samples
_FONT = ImageFont.load_default(_SIZE)
_SMALL = ImageFont.load_default(_SIZE - 3)
Box = tuple[int, int, int, int]


def best_of_pairs(board: Row) -> dict[tuple[str, str], Row]:
    """By generator and discriminator the best row: with several losses and so on a pair has several."""
    found: dict[tuple[str, str], Row] = {}
    for row in board["rows"]:
        found.setdefault((row["gen"], row["disc"]), row)
    return found


def heat_map(arena: Arena, board: Row) -> Image.Image:
    """The best metric of each pair, darker the better by rank; hatched where no combination of a pair fits."""
    best = best_of_pairs(board)
    shades = {pair: 1 - i / max(len(best) - 1, 1) for i, pair in enumerate(best)}

    def fill(pen: ImageDraw.ImageDraw, picture: Image.Image, box: Box, pair: tuple[str, str]) -> None:
        if (row := best.get(pair)) is None:
            _blank(pen, box, arena, board, pair)
            return
        colour = tuple(round(w + (b - w) * shades[pair]) for w, b in zip(_WORST, _BEST, strict=True))
        pen.rectangle(box, colour)
        ink = "white" if shades[pair] > 0.5 else "black"
        lines = with_error(next(iter(row["metrics"].values()))).replace(" ±", "\n±").split("\n")
        _write(pen, box, lines, ink)

    return _grid(arena, _CELL, fill, _title(board))


def samples(arena: Arena, board: Row) -> Image.Image:
    """Of each pair's best combination the first samples of its last sheet, whole pictures; of other data all of the sheet."""
    best = best_of_pairs(board)

    def fill(pen: ImageDraw.ImageDraw, picture: Image.Image, box: Box, pair: tuple[str, str]) -> None:
        if (row := best.get(pair)) is None:
            _blank(pen, box, arena, board, pair)
            return
        sheet = last_sheet(arena, row["runs"][0], _SHEET)
        x, y = ((box[i] + box[i + 2] + 1 - sheet.size[i]) // 2 for i in (0, 1))
        picture.paste(sheet, (x, y))

    return _grid(arena, (_SHEET + 8, _SHEET + 8), fill, f"samples of the first seed, {_title(board)}")


def last_sheet(arena: Arena, run: str, side: int) -> Image.Image:
    """The newest sheet of a run, cut to so many whole samples as fit into `side` pixels. Raises DataError without one."""
    from ganzoo.runs import Run

    opened = Run(arena.path / "runs" / run)
    try:
        with Image.open(opened.samples()[0]) as file:
            sheet = file.convert("RGB")
    except (IndexError, OSError) as err:
        raise DataError(f"{opened.samples_dir} has no sheet of samples that can be read ({err}); put it back") from None
    shape = opened.config()["spec"]["shape"]
    if len(shape) < 3 or max(shape[1:]) > side:
        sheet.thumbnail((side, side))
        return sheet
    height, width = shape[1:]
    return sheet.crop((0, 0, min(sheet.width, side // width * width), min(sheet.height, side // height * height)))


def draw(arena: Arena, board: Row) -> list[Path]:
    """heatmap.png and samples.png in the arena's directory."""
    written = []
    for name, picture in (("heatmap.png", heat_map(arena, board)), ("samples.png", samples(arena, board))):
        save(picture, arena.path / name)
        written.append(arena.path / name)
    return written


def _title(board: Row) -> str:
    name, first = next(iter(board["rows"][0]["metrics"].items()))
    parts = [axis for axis in ("losses", "regs", "augs") if len(board["question"][axis]) > 1]
    best = f"; of several {' and '.join(parts)} the best" if parts else ""
    return f"{name}" + (f", {first['better']} is better" if first["better"] else "") + best


def _grid(
    arena: Arena,
    cell: tuple[int, int],
    fill: Callable[[ImageDraw.ImageDraw, Image.Image, Box, tuple[str, str]], None],
    title: str,
) -> Image.Image:
    """Generators down, discriminators across, on white."""
    gens, discs = arena.question.gens, arena.question.discs
    left = max(round(_FONT.getlength(line)) for gen in gens for line in _wrapped(gen, 220)) + 2 * _PAD
    top = _PAD + (_SIZE + 4) * (2 + max(len(list(_wrapped(disc, cell[0]))) for disc in discs))
    width = max(left + cell[0] * len(discs), round(_SMALL.getlength(title)) + _PAD) + _PAD
    picture = Image.new("RGB", (width, top + cell[1] * len(gens) + _PAD), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((_PAD, _PAD), title, "#606060", font=_SMALL)
    for x, disc in enumerate(discs):
        lines = list(_wrapped(disc, cell[0]))
        _write(pen, (left + x * cell[0], top - 4 - (_SIZE + 4) * len(lines), left + (x + 1) * cell[0], top - 4), lines, "black")
    for y, gen in enumerate(gens):
        _write(pen, (0, top + y * cell[1], left, top + (y + 1) * cell[1]), list(_wrapped(gen, 220)), "black")
        for x, disc in enumerate(discs):
            box = (left + x * cell[0] + 1, top + y * cell[1] + 1, left + (x + 1) * cell[0] - 2, top + (y + 1) * cell[1] - 2)
            fill(pen, picture, box, (gen, disc))
    return picture


def _blank(pen: ImageDraw.ImageDraw, box: Box, arena: Arena, board: Row, pair: tuple[str, str]) -> None:
    """A pair without a figure: hatched where it does not fit, else with what became of it."""
    cells = [cell for cell in arena.cells if (cell.gen, cell.disc) == pair]
    playable = {cell.name for cell in cells if cell.reason is None}
    if not playable:
        _hatch(pen, box)
        _write(pen, box, ["no fit"], "#606060", "white")
        return
    pen.rectangle(box, _EMPTY)
    failed = {line["cell"] for line in board["failed"]}
    _write(pen, box, ["failed" if playable <= failed else "not run yet"], "#606060")


def _hatch(pen: ImageDraw.ImageDraw, box: Box) -> None:
    left, top, right, bottom = box
    pen.rectangle(box, _EMPTY)
    height = bottom - top
    for x in range(left - height, right, 8):
        # From the lower edge upwards to the right, cut off at the sides.
        start, end = max(left - x, 0), min(right - x, height)
        if start < end:
            pen.line([(x + start, bottom - start), (x + end, bottom - end)], _HATCH)


def _write(pen: ImageDraw.ImageDraw, box: Box, lines: list[str], ink: str, behind: str | None = None) -> None:
    """Lines in the middle of a box."""
    middle, step = (box[0] + box[2]) / 2, _SIZE + 4
    first = (box[1] + box[3]) / 2 - step * len(lines) / 2
    for i, line in enumerate(lines):
        x, y = middle - _FONT.getlength(line) / 2, first + step * i
        if behind is not None:
            pen.rectangle((x - 4, y - 1, x + _FONT.getlength(line) + 4, y + step - 1), behind)
        pen.text((x, y), line, ink, font=_FONT)


def _pieces(text: str, width: int) -> Iterator[str]:
    """Cut after colons and commas; what is too wide then, after other signs too."""
    for piece in re.findall(r"[^:,]*[:,]|[^:,]+$", text):
        yield from [piece] if _FONT.getlength(piece) <= width - _PAD else re.findall(r"[^=_-]*[=_-]|[^=_-]+$", piece)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """A part and its options, in lines of at most so many pixels, broken after a colon, a comma or the like where possible."""
    line = ""
    for piece in _pieces(text, width):
        if line and _FONT.getlength(line + piece) > width - _PAD:
            yield line
            line = ""
        line += piece
        while _FONT.getlength(line) > width - _PAD and len(line) > 1:
            cut = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or _FONT.getlength(line[:n]) <= width - _PAD)
            yield line[:cut]
            line = line[cut:]
    yield line
