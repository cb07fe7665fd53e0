"""Samples compared by people who do not know whose they are: a page to choose on, and the answers read back.

The page holds every image and its script, and the name of nothing: a sheet's key is a hash. A pair of combinations is shown
once, in an order and with sides that a seed decides. A combination's win rate is plain: of the comparisons that it was in, the
share that it won, a tie being half a win. Its standard error is that of a share of n draws, with one win and one loss added so
that it is never 0 (Agresti and Coull 1998 add two of each).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from ganzoo.arena.pictures import last_sheet
from ganzoo.arena.store import Arena
from ganzoo.errors import DataError, UsageError
from ganzoo.runs import write_atomically

_SIDE = 512  # pixels of a sheet on the page, at most
_SAMPLES = 256  # pixels of a sheet as cut, before it is enlarged


def write_page(arena: Arena, path: Path, seed: int = 0) -> int:
    """One page, of every pair of combinations that have a result; returns how many. Raises UsageError for less than one."""
    runs: dict[str, list[str]] = {}
    for line in arena.results():
        runs.setdefault(line["cell"], []).append(line["run"])
    if len(runs) < 2:
        raise UsageError(f"--blind {path}: two combinations are needed to compare, and {len(runs)} has a result")
    keys = {run: key(arena, run) for of_cell in runs.values() for run in of_cell}
    chance = random.Random(seed)
    pairs = []
    for pair in combinations(sorted(runs), 2):
        sides = [keys[chance.choice(sorted(runs[cell]))] for cell in pair]
        chance.shuffle(sides)
        pairs.append(sides)
    chance.shuffle(pairs)
    shown = {side for pair in pairs for side in pair}
    # Sorted by key: the order of the combinations would tell.
    images = {side: _image(arena, run) for side, run in sorted((side, run) for run, side in keys.items()) if side in shown}
    # What a browser keeps belongs to these pictures in this order.
    page = hashlib.sha256(json.dumps([pairs, images]).encode()).hexdigest()[:16]
    content = {"arena": fingerprint(arena), "page": page, "pairs": pairs, "images": images}
    write_atomically(path, _PAGE.replace("__CONTENT__", json.dumps(content)).encode())
    return len(pairs)


def check_page(path: Path) -> None:
    """Raises UsageError where no page can be written, or another file is there."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--blind {path}: there is no directory {path.parent}")
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace")[:400]:
        raise UsageError(f"--blind {path}: it is there, and no page of an arena; choose another name")


def fingerprint(arena: Arena) -> str:
    """Of the question: answers belong to one arena."""
    return hashlib.sha256(json.dumps(arena.question.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def key(arena: Arena, run: str) -> str:
    """What a run is called on the page: of its name and its picture, for the same question may be asked again."""
    sheet = last_sheet(arena, run, _SAMPLES)
    return hashlib.sha256(f"{fingerprint(arena)}/{run}/".encode() + sheet.tobytes()).hexdigest()[:12]


def win_rates(arena: Arena, files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """By combination: "value", "error", "comparisons". Raises DataError for what are no answers to this arena's page."""
    cells = {key(arena, line["run"]): line["cell"] for line in arena.results()}
    wins: dict[str, float] = {}
    counts: dict[str, int] = {}
    for file in files:
        for left, right, said in _answers(arena, file):
            if left not in cells or right not in cells:
                raise DataError(f"--answers {file}: it compares what is not in {arena.path}; give the file that its page saved")
            for side, points in ((left, {"left": 1.0, "tie": 0.5}), (right, {"right": 1.0, "tie": 0.5})):
                cell = cells[side]
                wins[cell] = wins.get(cell, 0.0) + points.get(said, 0.0)
                counts[cell] = counts.get(cell, 0) + 1
    return {cell: _rate(wins[cell], n) for cell, n in counts.items()}


def _rate(wins: float, n: int) -> dict[str, Any]:
    share = (wins + 1) / (n + 2)
    return {"value": wins / n, "error": math.sqrt(share * (1 - share) / (n + 2)), "comparisons": n}


def _answers(arena: Arena, file: Path) -> list[tuple[str, str, str]]:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        of, answers = table["arena"], [(one["left"], one["right"], one["said"]) for one in table["answers"]]
    except OSError as err:
        raise DataError(f"--answers {file} cannot be read: {err.strerror}") from None
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(
            f"--answers {file}: these are no answers of a blind page ({err}); give the file that the page saved"
        ) from None
    if of != fingerprint(arena):
        raise DataError(f"--answers {file}: they are of another arena than {arena.path}")
    if any(said not in ("left", "right", "tie") for *_, said in answers):
        raise DataError(f"--answers {file}: an answer is left, right or tie; give the file that the page saved")
    return answers


def _image(arena: Arena, run: str) -> str:
    """A sheet as a data URI; enlarged in whole steps, since browsers would blur it."""
    sheet = last_sheet(arena, run, _SAMPLES)
    factor = max(1, _SIDE // max(sheet.size))
    sheet = sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"


_MARK = "ganzoo-blind-page"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="ganzoo-blind-page">
<meta name="viewport" content="width=device-width">
<title>Which samples are better?</title>
<style>
body { font: 16px/1.5 sans-serif; margin: 1.5em auto; max-width: 72em; padding: 0 1em; text-align: center; color: #222; }
#pair { display: flex; gap: 2em; justify-content: center; flex-wrap: wrap; }
#pair button { border: 3px solid #ddd; background: none; padding: 4px; cursor: pointer; }
#pair button:hover, #pair button:focus { border-color: #1f5fbf; }
#pair img { display: block; max-width: min(512px, 90vw); }
.low button { font: inherit; margin: 1em .4em; padding: .3em 1em; }
</style>
</head>
<body>
<h1>Which samples are better?</h1>
<p>Click the better sheet: what looks right and varies. Keys: left and right arrow, down for a tie, backspace to go back.</p>
<div id="pair">
<button id="left"><img alt="left"></button>
<button id="right"><img alt="right"></button>
</div>
<div class="low">
<button id="back">Back</button>
<button id="tie">No difference</button>
<button id="save">Save the answers</button>
<button id="anew">Start anew</button>
</div>
<p id="state"></p>
<script type="application/json" id="content">__CONTENT__</script>
<script>
"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const element = (id) => document.getElementById(id);
const stored = "ganzoo-" + content.page;
let said = [];
try { said = JSON.parse(localStorage.getItem(stored)) || []; } catch (error) { said = []; }
let saved = true;

function show() {
  const at = said.length, all = content.pairs.length, over = at >= all;
  element("pair").style.visibility = over ? "hidden" : "visible";
  element("tie").disabled = over;
  element("back").disabled = at === 0;
  element("state").textContent = over ? "That was all " + all + ": save the answers." : at + " of " + all + " done.";
  if (!over) {
    for (const [i, side] of ["left", "right"].entries()) {
      element(side).firstElementChild.src = content.images[content.pairs[at][i]];
      element(side).blur();
    }
  }
}

function answer(word) {
  if (said.length >= content.pairs.length) return;
  said.push(word);
  keep();
}

function back() {
  said.pop();
  keep();
}

function anew() {
  if (said.length && !confirm("Forget " + said.length + " answers, for another person?")) return;
  said = [];
  keep();
}

function keep() {
  saved = said.length === 0;
  try { localStorage.setItem(stored, JSON.stringify(said)); } catch (error) { /* a private window */ }
  show();
}

function save() {
  const answers = said.map((word, i) => ({ left: content.pairs[i][0], right: content.pairs[i][1], said: word }));
  const text = JSON.stringify({ format: 1, arena: content.arena, answers }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "answers.json";
  link.click();
  saved = true;
}

for (const word of ["left", "right", "tie"]) element(word).addEventListener("click", () => answer(word));
element("back").addEventListener("click", back);
element("save").addEventListener("click", save);
element("anew").addEventListener("click", anew);
document.addEventListener("keydown", (event) => {
  const word = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" }[event.key];
  if (word) answer(word);
  else if (event.key === "Backspace") back();
  else return;
  event.preventDefault();
});
window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
show();
</script>
</body>
</html>
"""
