"""The leaderboard of an arena: a row a combination, sorted by the metric, as plain values, Markdown or for a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.arena.store import Arena, Line
from ganzoo.errors import UsageError
from ganzoo.pages import around
from ganzoo.runs import write_atomically

MARKS = "<!-- arena: begin -->", "<!-- arena: end -->"

Row = dict[str, Any]


def leaderboard(arena: Arena, wins: Mapping[str, Row] | None = None) -> Row:
    """All that the table says: "question", "rows" (best first), "failed", "misfits", "waiting" and "notes".

    A row has its cell's parts; "seeds" that are done; "metrics" by name, each with value, error and values; means of "kimg",
    "minutes", "images_per_second" and "diversity"; "device"; and with `wins`, those of `blind.win_rates`, its own.
    """
    results, failures = arena.results(), arena.failures()
    done = {line["run"] for line in results} | {line["run"] for line in failures}
    rows = []
    for cell in arena.cells:
        if lines := sorted((line for line in results if line["cell"] == cell.name), key=lambda line: int(line["seed"])):
            parts = {"cell": cell.name, "gen": cell.gen, "disc": cell.disc, "loss": cell.loss, "reg": cell.reg, "aug": cell.aug}
            rows.append(
                parts | _figures(lines, arena.question.seeds) | ({"wins": wins.get(cell.name)} if wins is not None else {})
            )
    words = {cell.name: cell.words for cell in arena.cells}
    return {
        "question": arena.question.to_dict(),
        "rows": sorted(rows, key=_merit),
        "failed": [line | {"words": words.get(line["cell"], line["cell"])} for line in failures],
        "misfits": [{"words": cell.words, "reason": cell.reason} for cell in arena.cells if cell.reason is not None],
        "waiting": [training.name for training in arena.trainings() if training.name not in done],
        "notes": list(dict.fromkeys(note for line in results for found in line["metrics"] for note in found["notes"])),
    }


def _figures(lines: Sequence[Line], seeds: int) -> Row:
    metrics: dict[str, Row] = {}
    for found in (found for line in lines for found in line["metrics"]):
        metrics.setdefault(found["metric"], {"better": found["better"], "values": [], "errors": []})
        metrics[found["metric"]]["values"].append(found["value"])
        metrics[found["metric"]]["errors"].append(found["error"])
    for row in metrics.values():
        errors = row.pop("errors")
        row["value"] = statistics.mean(row["values"])
        # Of one seed nothing is known but how far its own samples may mislead; that is not what stands beside several.
        row["error"] = errors[0] if seeds == 1 else None
        if len(errors) > 1 and math.isfinite(row["value"]):
            row["error"] = statistics.stdev(row["values"]) / math.sqrt(len(errors))
    varied = [line["diversity"] for line in lines if line["diversity"] is not None]
    return {
        "seeds": [line["seed"] for line in lines],
        "runs": [line["run"] for line in lines],
        "metrics": metrics,
        "kimg": statistics.mean(line["kimg"] for line in lines),
        "minutes": statistics.mean(line["seconds"] for line in lines) / 60,
        "images_per_second": statistics.mean(line["images_per_second"] for line in lines),
        "diversity": statistics.mean(varied) if varied else None,
        "device": ", ".join(dict.fromkeys(line["device"] for line in lines)),
    }


def _merit(row: Row) -> tuple[bool, float]:
    first = next(iter(row["metrics"].values()))
    value = -first["value"] if first["better"] == "higher" else first["value"]
    return not math.isfinite(value), value


# ---- as text


def columns(board: Row) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; a column that would say the same in every row is left out where the caption says it."""
    rows = board["rows"]
    asked = board["question"]["seeds"]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    people = [] if not rows or "wins" not in rows[0] else ["win rate"]
    headings = ["", "generator", "discriminator", "loss", "regularizers", "augmentation", *names, *people, "diversity"]
    headings += ["kimg", "minutes", "images/s", "seeds"]
    devices = {row["device"] for row in rows}
    headings += ["device"] if len(devices) > 1 else []
    cells = []
    for place, row in enumerate(rows, 1):
        line = [str(place), *(row[key] for key in ("gen", "disc", "loss", "reg", "aug"))]
        line += [with_error(row["metrics"].get(name)) for name in names]
        line += [with_error(row["wins"]) for _ in people]
        line += [f"{row['diversity']:.2f}" if row["diversity"] is not None else ""]
        line += [f"{row['kimg']:.4g}", f"{row['minutes']:.1f}", f"{row['images_per_second']:.0f}"]
        line += [str(len(row["seeds"])) + (f" of {asked}" if len(row["seeds"]) < asked else "")]
        line += [row["device"]] if len(devices) > 1 else []
        cells.append(line)
    return headings, cells


def caption(board: Row) -> str:
    """The protocol, in a sentence or two."""
    from ganzoo.arena.question import Budget

    question, rows = board["question"], board["rows"]
    budget = Budget.parse(question["budget"])
    words = [f"Data {question['data']}"]
    words[0] += f", with {' '.join(question['settings'])}" if question["settings"] else ""
    counted = "of training wall-clock, start-up and measuring not counted" if budget.minutes is not None else ""
    words.append(f"each run had {budget.words} {counted}".replace("of training of training", "of training").strip())
    if rows:
        name, first = next(iter(rows[0]["metrics"].items()))
        devices = {row["device"] for row in rows}
        words[-1] += f" on {next(iter(devices))}" if len(devices) == 1 else ""
        way = f", {first['better']} is better" if first["better"] else ""
        words.append(f"{name} of at most {question['samples']} samples{way}")
    seeds = question["seeds"]
    words.append(
        f"means over {seeds} seeds with the standard error over seeds"
        if seeds > 1
        else "one seed: the error is that of the samples, what another seed would give is not known"
    )
    if any("wins" in row for row in rows):
        words.append(
            "win rate: of the times a person was shown it beside another, unnamed, the share it was preferred (a tie is half)"
        )
    return "; ".join(words) + "."


def markdown(board: Row) -> str:
    """The table, its protocol, and what is not in it."""
    headings, cells = columns(board)
    lines = [caption(board), "", _md_row(headings), "|---" * len(headings) + "|", *map(_md_row, cells)]
    return "\n".join([*lines, *(f"\n{line}" if first else line for first, line in _beside(board, "- "))]) + "\n"


def _md_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _beside(board: Row, bullet: str) -> list[tuple[bool, str]]:
    """What is not in the table, each line with whether it begins a list."""
    lists = [
        [f"{bullet}{note}" for note in board["notes"]],
        [f"{bullet}{line['run']} ({line['words']}) failed: {line['error']}" for line in board["failed"]],
        [f"{bullet}{line['words']}: {line['reason']}" for line in board["misfits"]],
        [f"{bullet}not run yet: {', '.join(board['waiting'])}"] if board["waiting"] else [],
    ]
    return [(i == 0, line) for lines in lists for i, line in enumerate(lines)]


def show(board: Row) -> None:
    """On a terminal."""
    from rich.console import Console
    from rich.table import Table

    headings, cells = columns(board)
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console = Console()
    if cells:
        console.print(table, markup=False)
    console.print(caption(board), markup=False, highlight=False)
    for first, line in _beside(board, ""):
        console.print(f"\n{line}" if first else line, markup=False, highlight=False)


def with_error(figure: Mapping[str, Any] | None) -> str:
    """ "0.0312 ± 0.0012": as many decimals as two digits of the error have; four digits where there is none."""
    if figure is None:
        return ""
    value, error = figure["value"], figure["error"]
    if not math.isfinite(value) or not error or not math.isfinite(error):
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


# ---- into a page


def check_markdown(path: Path) -> None:
    """Raises UsageError where the table would take the place of somebody's text, or cannot be written."""
    if path.exists():
        _around(path)
    elif not path.absolute().parent.is_dir():
        raise UsageError(f"--markdown {path}: there is no directory {path.parent}")


def write_markdown(board: Row, path: Path) -> None:
    """Between the marks of a page, or a new file of the table alone, with marks for the next time."""
    before, after = _around(path) if path.exists() else (f"{MARKS[0]}\n", f"{MARKS[1]}\n")
    write_atomically(path, f"{before}\n{markdown(board)}\n{after}".encode())


def _around(path: Path) -> tuple[str, str]:
    return around(path, MARKS, "--markdown", "the table")
