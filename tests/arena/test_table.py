"""The table, its pictures and the blind page, of lines written by hand."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganzoo.arena import blind, pictures, play, table
from ganzoo.arena.question import Cell, Question
from ganzoo.arena.store import Arena
from ganzoo.config import dump_toml
from ganzoo.errors import DataError, UsageError
from ganzoo.runs import Run

GENS, DISCS = ("alpha", "beta"), ("gamma:width=4", "delta")
COLOURS = {"alpha-gamma": (200, 0, 0), "alpha-delta": (0, 200, 0), "beta-gamma": (0, 0, 200)}


def line(cell: str, seed: int, value: float, error: float | None = 0.5, better: str | None = "lower") -> dict[str, Any]:
    metric = {"metric": "kid-raw", "value": value, "error": error, "better": better, "notes": ["few samples"], "asked": True}
    beside = {"metric": "coverage-raw", "value": value / 100, "error": None, "better": "higher", "notes": [], "asked": False}
    facts = {"run": f"{cell}-s{seed}", "cell": cell, "seed": seed, "device": "CPU, 1 thread", "metrics": [metric, beside]}
    return facts | {"kimg": 10 + seed, "seconds": 60 * (1 + seed), "images_per_second": 100.0, "diversity": 0.5 + seed / 10}


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    """Two by two, of which one does not fit; two seeds; a sheet of 8 x 4 samples of 16 x 16 of one colour each run."""
    question = Question(
        gens=GENS, discs=DISCS, losses=("recommended",), regs=("r1", "none"), augs=("recommended",), data="emoji", budget="10m",
        seeds=2, metric="kid", samples=100, settings=("batch=8",),
    )  # fmt: skip
    cells = [
        Cell("alpha-gamma", "alpha", "gamma:width=4", "hinge", "r1", "none"),
        Cell("alpha-delta", "alpha", "delta", "hinge", "none", "none"),
        Cell("beta-gamma", "beta", "gamma:width=4", "hinge", "none", "none"),
        Cell("beta-delta", "beta", "delta", "hinge", "none", "none", "discriminator 'delta' does not fit: it cannot | so"),
    ]
    for name, colour in COLOURS.items():
        for seed in range(2):
            run = tmp_path / "arena" / "runs" / f"{name}-s{seed}"
            (run / "samples").mkdir(parents=True)
            Image.new("RGB", (128, 64), colour).save(run / "samples" / "000010.png")
            parts = {key: {"name": "x"} for key in ("gen", "disc", "loss", "game", "data", "components", "dataset")}
            (run / "run.toml").write_text(dump_toml({**parts, "spec": {"modality": "image", "shape": [3, 16, 16]}}))
    return Arena(tmp_path / "arena", question, cells)


def fill(arena: Arena) -> None:
    arena.add_result(line("alpha-gamma", 1, 8.0))  # two at once do not end in order
    arena.add_result(line("beta-gamma", 0, 1.5, error=0.25))
    arena.add_result(line("alpha-gamma", 0, 4.0))
    arena.add_result(line("alpha-delta", 0, 3.0))
    arena.add_failure({"run": "alpha-delta-s1", "cell": "alpha-delta", "error": "out of memory"})


def test_means_errors_and_order(arena: Arena) -> None:
    fill(arena)
    board = table.leaderboard(arena)
    assert [row["cell"] for row in board["rows"]] == ["beta-gamma", "alpha-delta", "alpha-gamma"]
    last = board["rows"][-1]
    assert last["metrics"]["kid-raw"]["value"] == 6
    assert last["metrics"]["kid-raw"]["error"] == pytest.approx(2)  # sqrt(((4 - 6)^2 + (8 - 6)^2) / 1) / sqrt(2)
    assert last["metrics"]["coverage-raw"]["value"] == pytest.approx(0.06)
    assert (last["kimg"], last["minutes"]) == (10.5, 1.5)
    assert last["seeds"] == [0, 1]
    assert last["diversity"] == pytest.approx(0.55)
    assert board["rows"][0]["metrics"]["kid-raw"]["error"] is None  # one seed of two: nothing to put beside the others'
    arena.question = replace(arena.question, seeds=1)
    assert table.leaderboard(arena)["rows"][0]["metrics"]["kid-raw"]["error"] == 0.25  # that of its samples
    assert board["waiting"] == ["beta-gamma-s1"]
    assert board["notes"] == ["few samples"]


@pytest.mark.parametrize(("better", "first"), [("lower", "alpha-delta"), ("higher", "alpha-gamma"), (None, "alpha-delta")])
def test_better_may_be_higher_and_what_is_no_number_comes_last(arena: Arena, better: str | None, first: str) -> None:
    arena.add_result(line("beta-gamma", 0, float("nan"), better=better))
    arena.add_result(line("alpha-gamma", 0, 4.0, better=better))
    arena.add_result(line("alpha-delta", 0, 3.0, better=better))
    rows = table.leaderboard(arena)["rows"]
    assert rows[0]["cell"] == first
    assert rows[-1]["cell"] == "beta-gamma"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.031234, 0.00123, "0.0312 ± 0.0012"),
        (12.3456, 1.5, "12.3 ± 1.5"),
        (123.4, 20, "123 ± 20"),
        (0.5, None, "0.5"),
        (1, 0, "1"),
    ],
)
def test_figures_have_the_digits_that_their_error_leaves(value: float, error: float | None, text: str) -> None:
    assert table.with_error({"value": value, "error": error}) == text


def test_markdown_goes_between_the_markers_of_a_page(arena: Arena, tmp_path: Path) -> None:
    fill(arena)
    page = tmp_path / "page.md"
    begin, end = table.MARKS
    page.write_text(f"Before.\n\n{begin}\nold\n{end}\n\nAfter.\n")
    board = table.leaderboard(arena)
    for _ in range(2):
        table.write_markdown(board, page)
        text = page.read_text()
        assert text.startswith("Before.\n\n<!--")
        assert text.endswith(f"{end}\n\nAfter.\n")
        assert "old" not in text
        rows = [row for row in text.splitlines() if re.match(r"\| \d", row)]
        assert [row.split(" | ")[1] for row in rows] == ["beta", "alpha", "alpha"]
        assert rows[2].startswith("| 3 | alpha | gamma:width=4 | hinge | r1 | none | 6.0 ± 2.0 |")
        assert rows[0].endswith(" | 1 of 2 |")
    assert "10 minutes of training wall-clock" in text
    assert "alpha-delta-s1 (alpha x delta, hinge) failed: out of memory" in text
    assert "beta x delta, hinge: discriminator 'delta' does not fit" in text
    fresh = tmp_path / "fresh.md"
    table.write_markdown(board, fresh)
    table.write_markdown(board, fresh)
    assert fresh.read_text().count(begin) == 1
    fresh.write_text("Somebody's own words.")
    with pytest.raises(UsageError, match="has no place for the table: put the lines"):
        table.check_markdown(fresh)


def test_a_damaged_line_is_named(arena: Arena) -> None:
    fill(arena)
    file = arena.path / "results.jsonl"
    file.write_text(file.read_text() + '{"run": ')
    with pytest.raises(Exception, match=r"results.jsonl cannot be read"):
        arena.results()


# ---- pictures


def test_the_heat_map_is_darker_where_it_is_better_and_hatched_where_nothing_fits(arena: Arena) -> None:
    fill(arena)
    picture = pictures.heat_map(arena, table.leaderboard(arena))
    pixels = np.asarray(picture).astype(int)
    width, height = pictures._CELL
    left, top = picture.width - 2 * width - 10, picture.height - 2 * height - 10

    def corner(gen: int, disc: int) -> Any:
        return pixels[top + gen * height + 3, left + disc * width + 3]

    best, second, third = (corner(*place) for place in ((1, 0), (0, 1), (0, 0)))
    assert tuple(best) == pictures._BEST
    assert tuple(third) == pictures._WORST
    assert best.sum() < second.sum() < third.sum()
    cell = pixels[top + height + 2 : top + 2 * height - 3, left + width + 2 : left + 2 * width - 3].reshape(-1, 3)
    hatched = (cell == pictures._HATCH).all(1).mean()
    assert 0.05 < hatched < 0.5


def test_samples_stand_where_their_figures_do(arena: Arena) -> None:
    fill(arena)
    picture = pictures.samples(arena, table.leaderboard(arena))
    pixels = np.asarray(picture)
    side = pictures._SHEET + 8
    left, top = picture.width - 2 * side - 10, picture.height - 2 * side - 10
    for gen, disc, name in ((0, 0, "alpha-gamma"), (0, 1, "alpha-delta"), (1, 0, "beta-gamma")):
        assert tuple(pixels[top + gen * side + side // 2, left + disc * side + side // 2]) == COLOURS[name]


def test_a_sheet_is_cut_between_samples(arena: Arena) -> None:
    assert pictures.last_sheet(arena, "alpha-gamma-s0", 50).size == (48, 48)
    assert pictures.last_sheet(arena, "alpha-gamma-s0", 200).size == (128, 64)
    with pytest.raises(DataError, match="no sheet"):
        pictures.last_sheet(arena, "nowhere", 50)


# ---- the blind page


def content(page: str) -> dict[str, Any]:
    [held] = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page)
    return dict(json.loads(held))


def colour(uri: str) -> tuple[int, ...]:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return tuple(np.asarray(image.convert("RGB"))[5, 5])


def test_the_page_names_nobody_and_needs_nothing(arena: Arena, tmp_path: Path) -> None:
    fill(arena)
    assert blind.write_page(arena, tmp_path / "page.html") == 3
    page = (tmp_path / "page.html").read_text()
    assert not re.search("alpha|beta|gamma|delta|hinge|r1[^0-9a-zA-Z+/]", re.sub(r'base64,[^"]*', "", page))
    assert not re.search(r"https?://|src=\"|href=\"|@import", page)
    held = content(page)
    assert sorted(sorted(colour(held["images"][side]) for side in pair) for pair in held["pairs"]) == sorted(
        sorted([COLOURS[a], COLOURS[b]])
        for a, b in (("alpha-gamma", "alpha-delta"), ("alpha-gamma", "beta-gamma"), ("alpha-delta", "beta-gamma"))
    )
    blind.write_page(arena, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page
    blind.write_page(arena, tmp_path / "other.html", seed=5)
    assert content((tmp_path / "other.html").read_text())["pairs"] != held["pairs"]


def test_answers_become_win_rates(arena: Arena, tmp_path: Path) -> None:
    """Somebody who likes blue best, and sees no difference between red and green."""
    fill(arena)
    blind.write_page(arena, tmp_path / "page.html")
    held = content((tmp_path / "page.html").read_text())
    answers = []
    for left, right in held["pairs"]:
        blue = [colour(held["images"][side]) == COLOURS["beta-gamma"] for side in (left, right)]
        answers.append({"left": left, "right": right, "said": "left" if blue[0] else "right" if blue[1] else "tie"})
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"format": 1, "arena": held["arena"], "answers": answers}))
    wins = blind.win_rates(arena, [file, file])
    assert {cell: rate["value"] for cell, rate in wins.items()} == {"beta-gamma": 1.0, "alpha-gamma": 0.25, "alpha-delta": 0.25}
    assert wins["beta-gamma"]["comparisons"] == 4
    assert wins["beta-gamma"]["error"] == pytest.approx((5 / 6 * 1 / 6 / 6) ** 0.5)
    text = table.markdown(table.leaderboard(arena, wins))
    assert "| win rate |" in text
    assert "| 1.00 ± 0.15 |" in text
    assert "win rate: of the times" in text


def test_the_same_question_with_other_pictures_is_another_page(arena: Arena, tmp_path: Path) -> None:
    """Neither what a browser keeps nor a file of answers is taken for the other's."""
    fill(arena)
    blind.write_page(arena, tmp_path / "page.html")
    held = content((tmp_path / "page.html").read_text())
    left, right = held["pairs"][0]
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"arena": held["arena"], "answers": [{"left": left, "right": right, "said": "tie"}]}))
    assert blind.win_rates(arena, [file])
    for path in arena.path.glob("runs/*/samples/*.png"):
        Image.effect_noise((128, 64), 50).save(path)
    blind.write_page(arena, tmp_path / "page.html")
    assert content((tmp_path / "page.html").read_text())["page"] != held["page"]
    with pytest.raises(DataError, match="not in"):
        blind.win_rates(arena, [file])


def test_a_seed_without_a_figure_does_not_end_the_table(arena: Arena) -> None:
    arena.add_result(line("alpha-gamma", 0, 4.0))
    arena.add_result(line("alpha-gamma", 1, float("inf")))
    assert "| inf |" in table.markdown(table.leaderboard(arena))


def test_what_a_kill_left_half_written_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".arena.toml.4242.tmp").write_text("half")
    (tmp_path / ".run.toml.4242.tmp").write_text("half")
    Arena.check_free(tmp_path)
    Run.check_free(tmp_path)
    (tmp_path / "mine.tmp").write_text("somebody's")
    for place in (Arena, Run):
        with pytest.raises(UsageError, match="choose another"):
            place.check_free(tmp_path)


def test_figures_are_read_between_what_a_part_prints(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text('a line of a plugin\n{"metric": "kid", "value": 1}\n{1, 2}\n')
    assert play._results(file) == [{"metric": "kid", "value": 1}]
    file.write_text("a line of a plugin\n")
    with pytest.raises(ValueError, match="has none"):
        play._results(file)
    with pytest.raises(ValueError, match="no median"):
        play.figures(Run(tmp_path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no answers"),
        ('{"arena": "x", "answers": []}', "another arena"),
        ('{"arena": "MINE", "answers": [{"left": "a", "right": "b", "said": "left"}]}', "not in"),
        ('{"arena": "MINE", "answers": [{"left": "a", "right": "b", "said": "neither"}]}', "left, right or tie"),
    ],
)
def test_answers_that_are_none(arena: Arena, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "answers.json"
    file.write_text(text.replace("MINE", blind.fingerprint(arena)))
    with pytest.raises(DataError, match=says):
        blind.win_rates(arena, [file])


def test_one_combination_is_no_comparison(arena: Arena, tmp_path: Path) -> None:
    arena.add_result(line("alpha-gamma", 0, 4.0))
    with pytest.raises(UsageError, match="two combinations are needed"):
        blind.write_page(arena, tmp_path / "page.html")
