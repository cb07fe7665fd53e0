"""Held-out figures of the small recipes from image to image, beside a baseline on the same images.

    python docs/experiments/recipes.py pix2pix-small cyclegan-small ...   # trains them
    python docs/experiments/translation.py                                # figures, pictures, the tables of docs/translation.md

Feature distance: 1 - cosine between the pooled vectors that EfficientNet-Lite0 has of two images, enlarged to 128x128
(bilinear); the mean over the held-out pairs. L1: mean absolute difference of pixels in [0, 1]. PSNR: in dB, over all pixels
and colours of an image, then the mean over images. SSIM: Wang et al. 2004, a Gaussian window of 11x11 with sigma 1.5, over the
three colours. Figures of what is not trained here are kept from before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipes import RUNS, done
from torch import Tensor, nn
from torch.nn import functional as F

import ganzoo
from ganzoo.data.cache import materialise
from ganzoo.data.pictures import draw
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.training.preview import beside

HERE = Path(__file__).parent
PAGE, PICTURES = HERE.parent / "translation.md", HERE.parent / "translation"
FIGURES = PICTURES / "figures.json"
SHOWN, ACROSS = 12, 3  # records of a picture, and how many of them make a row
EPOCHS = 15  # of the classifier of domains
Figures = dict[str, dict[str, Any]]


def held_out(name: str, **options: Any) -> tuple[dict[str, Tensor], Tensor | None]:
    """The held-out records of a data set, images in [-1, 1], and their labels."""
    return records(name, split="held-out", **options)


def records(name: str, **options: Any) -> tuple[dict[str, Tensor], Tensor | None]:
    registry = get_registry()
    store = materialise(registry.build(registry.find("dataset", name), options))
    fields = {key: torch.from_numpy(np.array(value)).float() / 127.5 - 1 for key, value in store.fields.items()}
    return fields, None if store.labels is None else torch.from_numpy(np.array(store.labels, np.int64))


# ---- how far two images are from each other


def l1(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().mean()) / 2


@torch.no_grad()
def feature_distance(a: Tensor, b: Tensor) -> float:
    registry = get_registry()
    network = registry.build(registry.find("features", "lite0"), {}, DataSpec("image", tuple(a.shape[1:])), 1)

    def seen(images: Tensor) -> Tensor:
        large = F.interpolate(images, size=(128, 128), mode="bilinear", align_corners=False, antialias=True)
        return torch.cat([network(part) for part in large.split(32)])

    return float((1 - F.cosine_similarity(seen(a), seen(b))).mean())


def psnr(a: Tensor, b: Tensor) -> float:
    error = ((a - b) / 2).square().flatten(1).mean(1)
    return float((-10 * error.clamp(min=1e-10).log10()).mean())


def ssim(a: Tensor, b: Tensor) -> float:
    a, b = (a + 1) / 2, (b + 1) / 2
    line = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line[None] / line.sum() ** 2).expand(a.shape[1], 1, 11, 11)

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=x.shape[1])

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    one, two = 0.01**2, 0.03**2
    return float(((2 * ma * mb + one) * (2 * both + two) / ((ma**2 + mb**2 + one) * (va + vb + two))).mean())


MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "L1": l1,
    "feature distance": feature_distance,
    "PSNR": psnr,
    "SSIM": ssim,
}


def measured(made: Tensor, truth: Tensor, measures: tuple[str, ...]) -> dict[str, float]:
    return {name: round(MEASURES[name](made.clamp(-1, 1), truth), 4) for name in measures}


# ---- the recipes


def trained(name: str) -> bool:
    return (RUNS / name / "run.toml").exists() and done(RUNS / name)


def pairs(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Flat to 3-D, held to the aligned truth, beside leaving the drawing as it is."""
    if not trained(name):
        return
    model = ganzoo.load(RUNS / name)
    fields, _ = held_out("emoji-pairs", res=model.data.resolution, labels=False)
    made = model.translate(fields["source"])
    picture(name, (fields["source"], made, fields["real"]))
    n = len(made)
    for row, images in ((f"{name}", made), (f"{name}: the identity map", fields["source"])):
        yield "pairs", row, {"images": n, **measured(images, fields["real"], ("L1", "feature distance"))}


def enlargements() -> Iterator[tuple[str, str, dict[str, Any]]]:
    names = [name for name in ("srresnet-small", "srgan-small", "rrdb-small", "esrgan-small") if trained(name)]
    if not names:
        return
    data = {"name": "emoji", "style": "both", "res": [64, 64], "labels": False}
    fields, _ = held_out("downscaled", data=data)
    made = {"bicubic": F.interpolate(fields["source"], scale_factor=4, mode="bicubic", align_corners=False)}
    made |= {name: ganzoo.load(RUNS / name).translate(fields["source"]) for name in names}
    for name, images in made.items():
        yield (
            "super-resolution",
            name,
            {"images": len(images), **measured(images, fields["real"], ("PSNR", "SSIM", "feature distance"))},
        )
    picture("super-resolution", (fields["source"], *made.values(), fields["real"]), across=1, shown=8)


def domains(name: str = "stargan-small") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """How often a classifier that saw real images alone names the domain that was asked for."""
    if not trained(name):
        return
    model = ganzoo.load(RUNS / name)
    options = {"res": model.data.resolution, "styles": model.data.domains}
    classify = classifier(*records("emoji-styles", **options))
    fields, labels = held_out("emoji-styles", **options)
    real, k = fields["real"], len(model.data.domains)
    assert labels is not None
    asked = [torch.full_like(labels, i) for i in range(k)]
    made = [model.translate(real, to=i) for i in range(k)]
    away = [labels != i for i in range(k)]

    def accuracy(images: list[Tensor]) -> float:
        right = [classify(x[keep]) == want[keep] for x, want, keep in zip(images, asked, away, strict=True)]
        return round(float(torch.cat(right).float().mean()), 4)

    count = int(sum(int(keep.sum()) for keep in away))
    yield (
        "domains",
        "held-out reals, their own domain",
        {"images": len(real), "accuracy": round(float((classify(real) == labels).float().mean()), 4)},
    )
    yield "domains", f"{name}, the domain asked for", {"images": count, "accuracy": accuracy(made)}
    yield "domains", "the identity map, the domain asked for", {"images": count, "accuracy": accuracy([real] * k)}
    rows = torch.linspace(0, len(real) - 1, SHOWN).round().long()
    picture(name, tuple(x[rows] for x in (real, *made)))


def classifier(fields: dict[str, Tensor], labels: Tensor | None) -> Callable[[Tensor], Tensor]:
    """A small network of its own that is trained to tell the domains of real images."""
    assert labels is not None
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((fields["real"].shape[1], 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, int(labels.max()) + 1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(fields["real"][rows]), labels[rows]).backward()
            optimizer.step()
    network.eval()
    return torch.no_grad()(lambda images: network(images).argmax(1))


# ---- the page


def picture(name: str, columns: tuple[Tensor, ...], across: int = ACROSS, shown: int = SHOWN) -> None:
    """Held-out records, evenly spaced, their pictures side by side."""
    rows = torch.linspace(0, len(columns[0]) - 1, shown).round().long()
    sheet = beside([column[rows] for column in columns]).clamp(-1, 1).numpy()
    draw(sheet, DataSpec("image", sheet.shape[1:]), PICTURES / f"{name}.png", columns=across * len(columns))


def table(rows: dict[str, Any]) -> str:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row.get(key, "")) for key in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    figures: Figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for rows in (pairs("pix2pix-small"), pairs("cyclegan-small"), enlargements(), domains()):
        for section, name, values in rows:
            figures.setdefault(section, {})[name] = values
            print(section, name, values, flush=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    text = PAGE.read_text()
    for section, values in figures.items():
        begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{table(values)}\n{end}{after}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
