"""The core's own components, declared as any plugin declares its own: this is the entry module of `ganzoo-core`."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

FILES = {"folder": "folder", "zip": "zipped", "array": "array"}  # what makes files to try the data set on


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "game",
        "adversarial",
        "ganzoo.games.adversarial:Adversarial",
        summary="One generator against one discriminator: from noise, by class, or from paired input",
        paper="arXiv:1406.2661",
    )
    for name, target, modality, summary in (
        ("folder", "files:Folder", "image", "Images in a folder; sub-folders are classes"),
        ("zip", "files:Zip", "image", "Images in a zip; labels from dataset.json or sub-folders"),
        ("array", "files:Array", "", "Images, points or signals in a .npz or .npy file"),
        ("ring", "points:Ring", "points", "Gaussians on a circle"),
        ("grid", "points:Grid", "points", "Gaussians on a square grid"),
        ("swissroll", "points:SwissRoll", "points", "A rolled-up line with noise"),
        ("spiral", "points:Spiral", "points", "Interleaved spiral arms"),
    ):
        yield Component(
            "dataset",
            name,
            f"ganzoo.data.{target}",
            summary=summary,
            modality=frozenset(filter(None, [modality])),
            trial=f"ganzoo.testing.samples:{FILES[name]}" if name in FILES else {},
        )
    yield Component(
        "metric",
        "modes",
        "ganzoo.metrics.modes:ModesHeld",
        summary="How many modes of the data the samples hold, of data that can tell: ring, grid, stacked",
        paper="arXiv:1712.04086",
        aliases=("mode-count", "reverse-kl"),
    )
