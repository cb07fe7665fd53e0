"""A zoo of GANs. Importing this imports neither torch nor numpy: each function fetches what it needs when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.models import Model
    from ganzoo.registry import Entry
    from ganzoo.runs import Run

__all__ = ["__version__", "create", "list_components", "load", "train"]

__version__ = "0.1.0"


def list_components(kind: str | None = None, pattern: str | None = None) -> list[Entry]:
    """The installed components, by kind and name; `pattern` is a glob over names."""
    from ganzoo.registry import get_registry

    return get_registry().select(kind, pattern)


def create(kind: str, name: str, data: Any = None, **options: Any) -> Any:
    """Build one component: `target(data, **options)`, a data set `target(**options)`; options left out take their defaults.

    `name` may carry options as on the command line: "dcgan:channels=32". Raises UsageError for an unknown name or option.
    """
    from ganzoo.registry import create

    return create(kind, name, data, **options)


def train(config: Any, out: Path | str | None = None) -> Run:
    """Train, as `ganzoo train` does, and return the run; `out` is its directory, else one under runs/.

    `config` is a RunConfig, a mapping of run.toml's keys, or the path of such a file. Raises GanzooError.
    """
    from ganzoo.training.launch import train

    return train(config, out)


def load(path: Path | str, *, device: str = "cpu", at: str | None = None, to: str | None = None, strict: bool = False) -> Model:
    """The generator of a run (its newest checkpoint, or the one called `at`) or of an exported model.

    `.sample(64)` draws from noise, `.translate(images)` makes images from images. `to` chooses among the networks of a game
    that has several: "B", what its data hold, or "A", their source. Warns where the generator's plugin is not the one it was
    trained with. Raises UsageError where the path is neither or does not make `to`, RunError where its files are damaged or,
    if `strict`, instead of that warning.
    """
    from ganzoo.loading import load

    return load(path, device=device, at=at, to=to, strict=strict)
