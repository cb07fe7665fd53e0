"""`ganzoo install`: the pip command for a plugin of the catalogue. Running it is the user's decision."""

from __future__ import annotations

import shlex
import sys

import click

from ganzoo.catalog import Catalog, Offer, canonical, get_catalog
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.registry import installed


@click.command("install")
@click.argument("name")
def command(name: str) -> None:
    """Print the pip command that installs a plugin of the catalogue. Nothing is run.

    NAME is the plugin's, or that of a component that it offers. `$(ganzoo install NAME)` runs the command.
    """
    offer = find_offer(get_catalog(), name)
    pip = [sys.executable, "-m", "pip", "install"]
    if version := installed(offer.distribution):
        upgrade = shlex.join([*pip, "--upgrade", offer.distribution])
        click.echo(f"{offer.distribution} {version} is installed; to upgrade it: {upgrade}", err=True)
        return
    about = f": see {offer.homepage}" if offer.homepage else ""
    click.echo(f"a plugin is its author's code and runs on your machine: install those you trust{about}", err=True)
    click.echo(shlex.join([*pip, offer.distribution]))


def find_offer(catalog: Catalog, name: str) -> Offer:
    """The one plugin of this name, or that offers a component `name` or `plugin/name`. Raises UsageError with the choice."""
    for offer in catalog.offers:
        if canonical(offer.distribution) == canonical(name):
            return offer
    dist, _, bare = name.rpartition("/")
    found = [
        offer
        for offer in catalog.offers
        if any(bare in names for names in offer.names.values())
        and (not dist or canonical(offer.distribution) == canonical(dist))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        choice = " or ".join(f"'ganzoo install {offer.distribution}'" for offer in found)
        raise UsageError(f"'{name}' is offered by {len(found)} plugins: write {choice}")
    known = {known for offer in catalog.offers for names in [[offer.distribution], *offer.names.values()] for known in names}
    raise UsageError(
        f"the catalogue has no plugin and no component '{name}'.{did_you_mean(name, sorted(known))}"
        " 'ganzoo list --all' shows what it has"
    )
