"""Which checks there are, by kind."""

from __future__ import annotations

from ganzoo.testing import (
    augmentations,
    datasets,
    discriminators,
    encoders,
    features,
    games,
    generators,
    losses,
    metrics,
    package,
    recipes,
    regularizers,
    training,
)
from ganzoo.testing.contracts import Check

PACKAGE_CHECKS: tuple[Check, ...] = package.PACKAGE_CHECKS
COMPONENT_CHECKS: tuple[Check, ...] = package.COMPONENT_CHECKS
TRAINING_CHECKS: tuple[Check, ...] = training.CHECKS
PLAYING = ("generator", "discriminator", "loss", "regularizer", "augmentation", "game")  # those to which TRAINING_CHECKS apply
CHECKS: dict[str, tuple[Check, ...]] = {
    "generator": generators.CHECKS,
    "discriminator": discriminators.CHECKS,
    "loss": losses.CHECKS,
    "regularizer": regularizers.CHECKS,
    "augmentation": augmentations.CHECKS,
    "game": games.CHECKS,
    "dataset": datasets.CHECKS,
    "features": features.CHECKS,
    "encoder": encoders.CHECKS,
    "metric": metrics.CHECKS,
    "recipe": recipes.CHECKS,
}
