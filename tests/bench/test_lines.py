"""Lines, the tables of lines made by hand, pages and pictures."""

from __future__ import annotations

import errno
import math
import os
import statistics
from pathlib import Path

import pytest
from PIL import Image

from ganzoo.bench import pictures, tables
from ganzoo.bench.lines import Lines
from ganzoo.bench.protocols import DATA, Suite, find_suites
from ganzoo.errors import RunError, UsageError

from .conftest import line


@pytest.fixture
def ring() -> Suite:
    [found] = find_suites("ganzoo", ["ring"], ["gan", "pacgan", "r1"])
    return found


@pytest.fixture
def lines(ring: Suite, tmp_path: Path) -> Lines:
    """gan of three seeds, of which one loses modes on the way; pacgan of one."""
    lines = Lines(tmp_path)
    lines.add(line(ring, "gan", 0, [3, 8, 6, 8], 0.90, 0.01))
    lines.add(line(ring, "gan", 2, [1, 2, 3, 4], 0.50, 0.30))
    lines.add(line(ring, "gan", 1, [5, 5, 4, 6], 0.70, 0.05))
    lines.add(line(ring, "pacgan", 0, [8, 8, 8, 8], 0.95, 0.001))
    lines.add({**line(ring, DATA, 0, [8], 0.9889, 0.0003), "accuracy": 0.912})
    return lines


def test_what_is_there_is_found_again(ring: Suite, lines: Lines, tmp_path: Path) -> None:
    again = Lines(tmp_path)
    missing = [(t.recipe, t.seed) for t in again.missing(ring.trainings(3))]
    assert missing == [("r1", 0), ("pacgan", 1), ("r1", 1), ("pacgan", 2), ("r1", 2)]
    assert [found["seed"] for found in again.like(ring.training("gan"))] == [0, 1, 2]
    [other] = find_suites("ganzoo", ["ring"], ["gan"], steps=50)
    assert again.find(other.training("gan")) is None
    again.add(line(other, "gan", 0, [1]))
    assert len(Lines(tmp_path).like(ring.training("gan"))) == 3
    assert len(Lines(tmp_path).like(other.training("gan"))) == 1


def test_a_damaged_line_is_named(ring: Suite, lines: Lines, tmp_path: Path) -> None:
    with lines.file("ring").open("a") as f:
        f.write('{"protocol": "ga')
    with pytest.raises(RunError, match=r"ring\.jsonl: line 6 is damaged; delete that line"):
        Lines(tmp_path).find(ring.training("gan"))


def test_one_bench_at_a_time(lines: Lines, tmp_path: Path) -> None:
    with lines.held(), pytest.raises(RunError, match="in use"), Lines(tmp_path).held():
        pass
    with Lines(tmp_path).held():
        pass


def test_a_full_disk_is_said_and_loses_nothing(
    ring: Suite, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            lines.add(line(ring, "r1", 0, [1]))
    assert len(Lines(tmp_path).like(ring.training("gan"))) == 3


def test_rows_by_hand(ring: Suite, lines: Lines) -> None:
    report = tables.report(ring, lines)
    assert [row.label for row in report.rows] == ["gan", "pacgan"]
    gan = report.rows[0]
    assert gan.last("modes") == [8, 6, 4]
    assert gan.lost == [2, 1, 0]
    told = gan.to_dict()
    assert told["modes"] == {"mean": 6, "standard_error": pytest.approx(2 / math.sqrt(3)), "each": [8, 6, 4]}
    assert told["reverse_kl"]["mean"] == pytest.approx(0.12)
    assert told["reverse_kl"]["standard_error"] == pytest.approx(statistics.stdev([0.01, 0.05, 0.30]) / 3**0.5)
    assert told["seconds"]["each"] == [10, 11, 12]
    assert report.rows[1].to_dict()["modes"] == {"mean": 8, "standard_error": None, "each": [8]}
    assert report.floor == 7 / 20_000
    assert report.to_dict()["data"]["accuracy"] == 0.912


def test_the_table(ring: Suite, lines: Lines) -> None:
    assert tables.markdown(tables.report(ring, lines)).splitlines() == [
        "|  | seeds | modes of 8 | within 3 sigma | reverse KL | lost on the way | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| the data |  | 8 | 98.9% | 0.0003 (floor 0.0003) |  |  |",
        "| gan | 3 | 6.00 ± 1.15 | 70.0% ± 11.5% | 0.1200 ± 0.0907 | 1.00 ± 0.58 | 11 |",
        "| pacgan | 1 | 8.00 | 95.0% | 0.0010 | 0.00 | 10 |",
    ]


def test_published_figures_stand_beside_their_own_protocol_alone(tmp_path: Path) -> None:
    for steps, shown in ((None, True), (400, False)):
        [pac] = find_suites("pacgan", ["ring"], ["gan"], steps=steps)
        lines = Lines(tmp_path)
        lines.add(line(pac, "gan", 0, [8]))
        assert ("6.3, 98.2%, 0.45" in tables.markdown(tables.report(pac, lines))) == shown


def test_without_a_notion_of_inside_there_is_no_share(tmp_path: Path) -> None:
    [stacked] = find_suites("ganzoo", ["stacked"], ["gan"])
    lines, training = Lines(tmp_path), stacked.training("gan", "D 1/4")
    lines.add({**line(stacked, "gan", 0, [400]), "case": training.case, "hash": training.hash, "count": 1000})
    lines.add({**line(stacked, DATA, 0, [1000], 1.0, 0.05), "count": 1000})
    table = tables.markdown(tables.report(stacked, lines))
    assert table.splitlines()[0].count("|") == 7
    assert "| the data |  | 1000 | 0.0500 (floor 0.0500) |  |  |" in table
    assert "| gan, D 1/4 | 1 | 400.00 | 0.1000 | 0.00 | 10 |" in table


def test_a_diverged_seed_is_said(ring: Suite, tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    found = line(ring, "gan", 0, [0])
    found["looks"][-1]["diverged"] = True
    lines.add(found)
    assert "| gan (1 of 1 diverged) |" in tables.markdown(tables.report(ring, lines))


# ---- pages


def test_a_page_is_written_between_its_marks(ring: Suite, lines: Lines, tmp_path: Path) -> None:
    begin, end = tables.marks(ring)
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{begin}\nobsolete\n{end}\n\nAfter\n")
    report = tables.report(ring, lines)
    section = list(tables.section(report, {"dots": "place/dots.png"}))
    tables.write_page(page, [(ring, section)])
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{begin}\nProtocol `ganzoo`: 10,000 steps in batches of 128; 10,000 samples")
    assert text.endswith(f"![dots](place/dots.png)\n{end}\n\nAfter\n")
    assert "obsolete" not in text
    assert text.index("Expected") < text.index("| gan |")
    assert "told 91.2% rightly" in text
    tables.write_page(page, [(ring, section)])
    assert page.read_text() == text


@pytest.mark.parametrize("text", ["", "{begin}\n", "{end}\n{begin}\n", "{begin}\n{end}\n{begin}\n{end}\n"])
def test_a_page_without_a_place_is_refused(ring: Suite, tmp_path: Path, text: str) -> None:
    begin, end = tables.marks(ring)
    page = tmp_path / "page.md"
    page.write_text(text.format(begin=begin, end=end))
    with pytest.raises(UsageError, match="has no place for the suite ring"):
        tables.check_page(page, [ring])


def test_a_page_that_is_not_there_is_refused(ring: Suite, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.md cannot be read: No such file"):
        tables.check_page(tmp_path / "missing.md", [ring])


# ---- pictures


def test_every_seed_is_a_dot(ring: Suite, lines: Lines) -> None:
    """As many separate blue patches as seeds, in each of three panels."""
    picture = pictures.dots(tables.report(ring, lines))
    assert picture.size[0] > 700
    assert _patches(picture) == 3 * 4


def test_dots_of_equal_seeds_do_not_hide_each_other(ring: Suite, tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    for seed in range(5):
        lines.add(line(ring, "gan", seed, [5]))
    assert _patches(pictures.dots(tables.report(ring, lines)).crop((0, 0, 300, 200))) == 5


def test_the_curves_have_a_panel_a_variant(ring: Suite, lines: Lines) -> None:
    one = pictures.curves(tables.report(ring, lines))
    lines.add(line(ring, "r1", 0, [1, 2, 3, 4]))
    assert pictures.curves(tables.report(ring, lines)).size[0] > one.size[0]
    assert len(one.getcolors(10**6)) > 10


def _patches(picture: Image.Image) -> int:
    """Connected patches of the dots' blue."""
    blue = {
        (x, y)
        for x in range(picture.width)
        for y in range(picture.height)
        if (lambda r, g, b: b > 150 and b - r > 100)(*picture.getpixel((x, y)))
    }
    count = 0
    while blue:
        count += 1
        waiting = [blue.pop()]
        while waiting:
            x, y = waiting.pop()
            for near in [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in blue:
                    blue.remove(near)
                    waiting.append(near)
    return count
