"""`ganzoo explore`: walks through a generator's latent space, as a sheet or an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

VIEWS = ("interpolate", "truncation", "mix", "classes", "neighbours")
ANIMATED = ("interpolate", "truncation")
_SEEDS = {"interpolate": 5, "truncation": 6, "mix": 4, "classes": 12, "neighbours": 8}


@click.command("explore")
@click.argument("run")
@click.option("--interpolate", "views", flag_value="interpolate", multiple=True, help="Walk between seeds; .gif animates it.")
@click.option("--truncation", "views", flag_value="truncation", multiple=True, help="Each seed from its mean to beyond.")
@click.option("--mix", "views", flag_value="mix", multiple=True, help="Style mixing by layer: coarse, middle, fine.")
@click.option("--classes", "views", flag_value="classes", multiple=True, help="The same latent through every class.")
@click.option(
    "--neighbours", "views", flag_value="neighbours", multiple=True, help="Samples beside the nearest training images."
)
@click.option("--seeds", metavar="3,17", help="These seeds; without it the first few.")
@click.option("--class", "label", metavar="NAME", help="Of this class only.")
@click.option("--text", metavar="CAPTION", help="Of this caption, for a generator that looks at captions.")
@click.option("--steps", type=click.IntRange(2, 1000), help="Images between two seeds, or of the sweep. [8, a .gif 24]")
@click.option("--values", metavar="0,.5,1", help="The truncations of the sweep. [0 to 1.25 in steps]")
@click.option("--features", metavar="NAME", help="Compare neighbours by this feature network instead of by pixels.")
@click.option("--checkpoint", metavar="K", help="A run's checkpoint by its kimg; without it the newest.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute.")
@click.option("--strict", is_flag=True, help="Refuse a plugin that is not the one it was trained with.")
@click.option("--out", required=True, metavar="FILE.png|.gif", help="A sheet, or an animation.")
def command(views: tuple[str, ...], out: str, **given: Any) -> None:
    """Look at the latent space of RUN, a run's directory or an exported model."""
    from ganzoo.errors import UsageError
    from ganzoo.loading import load
    from ganzoo.runs import check_writable, expanded
    from ganzoo.training.trainer import choose_device

    if len(set(views)) != 1:
        said = " and ".join(f"--{view}" for view in dict.fromkeys(views)) or "nothing"
        raise UsageError(f"say what to look at, one of {', '.join(f'--{view}' for view in VIEWS)}; {said} was given")
    view, path = views[0], expanded(out)
    suffix = path.suffix.lower()
    if suffix not in (".png", *([".gif"] if view in ANIMATED else [])):
        kinds = "FILE.png or FILE.gif" if view in ANIMATED else "FILE.png: it does not move"
        raise UsageError(f"--out {out}: --{view} writes {kinds}")
    for flag, only in (("steps", ANIMATED), ("values", ("truncation",)), ("features", ("neighbours",)), ("label", VIEWS)):
        if given[flag] is not None and (view not in only or (flag == "label" and view == "classes")):
            raise UsageError(f"--{'class' if flag == 'label' else flag} means nothing to --{view}: leave it out")
    check_writable(path.parent)
    device = choose_device(given["device"])
    model = load(given["run"], device=device, at=given["checkpoint"], strict=given["strict"])
    if model.data.modality != "image":
        raise UsageError(
            f"explore draws images, and this generator makes {model.data.modality} data: 'ganzoo sample' draws those"
        )
    if given["text"] is not None:
        model = model.of(given["text"])
    grid = _look(view, model, given, 24 if suffix == ".gif" else 8)
    (_animate if suffix == ".gif" else _sheet)(grid, path)
    click.echo(str(path))


def _look(view: str, model: Any, given: dict[str, Any], steps: int) -> Any:
    from ganzoo import explore
    from ganzoo.cli.sample import parse_seeds
    from ganzoo.registry import create

    seeds = parse_seeds(given["seeds"]) if given["seeds"] is not None else list(range(_SEEDS[view]))
    steps, label = given["steps"] or steps, given["label"]
    if view == "interpolate":
        return explore.interpolate(model, seeds, steps, label)
    if view == "truncation":
        values = _values(given["values"]) if given["values"] else [1.25 * i / (steps - 1) for i in range(steps)]
        return explore.truncation(model, seeds, values, label)
    if view == "mix":
        return explore.mix(model, seeds, [seed + max(seeds) + 1 for seed in range(6)], label)
    if view == "classes":
        return explore.classes(model, seeds)
    features = create("features", given["features"], model.data) if given["features"] is not None else None
    found = explore.neighbours(model, _real(given["run"]), seeds, 7, label, features)
    click.echo(
        f"median distance to the nearest training image {float(found.distance[:, 0].median()):.3f}; of that image to its own "
        f"nearest {found.usual:.3f}. Far below it, samples are copies",
        err=True,
    )
    return found.grid


def _real(run: str) -> Any:
    """The images that a run was trained on."""
    from ganzoo.assembly import plan_from_table
    from ganzoo.data.cache import materialise
    from ganzoo.errors import UsageError
    from ganzoo.registry import get_registry
    from ganzoo.runs import Run, expanded

    path = expanded(run)
    if not (path / "run.toml").is_file():
        raise UsageError(f"{path} is an exported model, which does not know its training images: give --neighbours a run")
    opened = Run.open(path)
    plan = plan_from_table(get_registry(), opened.config(), str(opened.config_file))
    return materialise(plan.dataset).fields["real"]


def _values(text: str) -> list[float]:
    from ganzoo.errors import UsageError

    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"--values {text}: write numbers joined by commas: 0,.5,1") from None


def _sheet(grid: Any, path: Path) -> None:
    from ganzoo.data import pictures

    images = pictures.to_uint8(grid.flatten(0, 1).numpy())
    pictures.save(pictures.sheet(images, columns=grid.shape[1]), path)


def _animate(grid: Any, path: Path) -> None:
    """Each column a frame, forth and back, the rows beside one another."""
    from ganzoo.data import pictures

    columns = max(1, round(len(grid) ** 0.5))
    frames = [pictures.sheet(pictures.to_uint8(grid[:, i].numpy()), columns) for i in range(grid.shape[1])]
    pictures.save_animation([*frames, *frames[-2:0:-1]], path)
