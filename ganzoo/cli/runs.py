"""`ganzoo runs`: the runs in a directory."""

from __future__ import annotations

import json

import click

from ganzoo.errors import UsageError
from ganzoo.runs import expanded, list_runs


@click.command("runs")
@click.argument("directory", default="runs")
@click.option("--json", "as_json", is_flag=True, help="An array, for programs.")
def command(directory: str, as_json: bool) -> None:
    """List the runs in DIRECTORY (runs/): state, kimg, speed."""
    root = expanded(directory)
    if directory != "runs" and not root.is_dir():
        raise UsageError(f"there is no directory '{directory}'")
    found = list_runs(root)
    if as_json:
        click.echo(json.dumps([summary.to_dict() for summary in found], indent=2))
        return
    if not found:
        click.echo(f"no runs in {directory}: ganzoo train makes one")
    for s in found:
        speed = f"{s.images_per_second:8.1f} images/s" if s.images_per_second is not None else ""
        click.echo(f"{s.path}  {s.state:8}  {s.kimg:g} of {s.budget:g} kimg  {s.gen} x {s.disc} on {s.data}  {speed}".rstrip())
