"""A zoo of GANs. Importing this imports neither torch nor numpy: each function fetches what it needs when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo.registry import Entry

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


def train(config: Any) -> Any:
    """Train, as `ganzoo train` does, from a RunConfig, a mapping of run.toml's keys, or the path of such a file."""
    from ganzoo.training import train

    return train(config)


def load(path: Any) -> Any:
    """The generator of a run or of an exported model, ready to sample from."""
    from ganzoo.runs import load

    return load(path)
