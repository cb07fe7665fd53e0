"""The core's own components, declared as any plugin declares its own: this is the entry module of `ganzoo-core`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

FILES = {"folder": "folder", "zip": "zipped", "array": "array"}  # what makes files to try the data set on

# Of the metrics: name, target, summary, paper, and what else is declared.
METRICS: tuple[tuple[str, str, str, str | None, dict[str, Any]], ...] = (
    ("fd", "frechet:Frechet", "Frechet distance of features; of Inception's it is FID", "1706.08500", {"aliases": ("FID",)}),
    ("class-fd", "frechet:ClassFrechet", "The Frechet distance within each class, averaged", None, {"labels": "required"}),
    ("kid", "kernel:Kernel", "Kernel distance of features, with its standard error", "1801.01401", {"aliases": ("MMD",)}),
    ("precision", "neighbours:Precision", "The share of fakes among the reals", "1904.06991", {}),
    ("recall", "neighbours:Recall", "The share of reals among the fakes", "1904.06991", {}),
    ("density", "neighbours:Density", "How densely fakes lie where reals do", "2002.09797", {}),
    ("coverage", "neighbours:Coverage", "The share of reals with a fake near by", "2002.09797", {}),
    (
        "memorization",
        "neighbours:Memorization",
        "The share of fakes nearer to a real than that is to another",
        "2102.08921",
        {"aliases": ("authenticity",)},
    ),
    ("diversity", "neighbours:Diversity", "How far apart fakes are, over how far apart reals are", None, {"labels": "used"}),
    ("is", "scores:InceptionScore", "The Inception Score, of any network that classifies", "1606.03498", {"needs": {"logits"}}),
    (
        "accuracy",
        "scores:Accuracy",
        "A classifier of the reals, asked of fakes, and the reverse (CAS)",
        "1905.10887",
        {
            "labels": "required",
            "modality": {"image"},
            "trial": {"batches": 20},
            "aliases": ("CAS", "classification accuracy score"),
        },
    ),
    ("modes", "modes:ModesHeld", "Modes held, of data whose modes are known; quality; reverse KL", "1705.07761", {}),
    (
        "ppl",
        "path_length:PathLength",
        "Perceptual path length between styles",
        "1812.04948",
        {"needs": {"style"}, "modality": {"image"}},
    ),
)


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
    for name, target, summary, paper, more in METRICS:
        yield Component(
            "metric", name, f"ganzoo.metrics.{target}", summary=summary, paper=f"arXiv:{paper}" if paper else None, **more
        )
    yield Component("features", "raw", "ganzoo.metrics.networks:Raw", summary="The samples themselves, flattened")
    yield Component(
        "features",
        "classifier",
        "ganzoo.metrics.networks:ClassifierFeatures",
        summary="A small network trained on the labels of the data at hand",
        provides=frozenset({"logits"}),
        modality=frozenset({"image"}),
        resolutions="any from 8 to 32",
        labels="required",
    )
    yield Component(
        "features",
        "inception",
        "ganzoo.metrics.networks:Inception",
        summary="Inception-v3 of 2015: the network of FID and the Inception Score",
        provides=frozenset({"logits"}),
        paper="arXiv:1512.00567",
        licence="Apache-2.0",
        modality=frozenset({"image"}),
        resolutions="299",
        trial={"pretrained": False},
    )
