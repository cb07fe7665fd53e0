"""`ganzoo train`: assemble a GAN from what is installed and train it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from ganzoo.config import Layer


@click.command("train")
@click.option("--recipe", metavar="R", help="A named combination to start from: ganzoo list recipe.")
@click.option("--gen", metavar="S", help="Generator, as NAME or NAME:option=value,...")
@click.option("--disc", metavar="S", help="Discriminator.")
@click.option("--loss", metavar="S", help="Adversarial loss.")
@click.option("--reg", metavar="S", multiple=True, help="Regularizer, added to what is recommended; 'none' empties that first.")
@click.option("--aug", metavar="S", help="Augmentation of what D sees, or none.")
@click.option("--game", metavar="S", help="Who plays whom.")
@click.option("--data", metavar="S|PATH", help="Data set by name, or a folder, .zip, .npz or .npy.")
@click.option("--res", metavar="N|HxW", help="Resolution of the images.")
@click.option("--batch", metavar="N", help="Images a round.")
@click.option("--micro-batch", metavar="N", help="Images a forward pass, where memory is short.")
@click.option("--sync-bn", is_flag=True, help="Under torchrun: batch norm over the batch of all ranks.")
@click.option("--kimg", metavar="X", help="Budget, in thousands of images seen.")
@click.option("--seed", metavar="N", help="Of weights, data order and noise.")
@click.option("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", metavar="P", help="fp32, bf16, or auto: bf16 where the device is fast at it.")
@click.option("--compile", is_flag=True, help="Compile the networks: for long trainings on a GPU.")
@click.option("--graphs", is_flag=True, help="Record each step as a CUDA graph: for small networks.")
@click.option(
    "--eval", "evals", metavar="M", multiple=True, help="Take this metric on the way, as kid-lite0-128; keep the best."
)
@click.option("--eval-every", metavar="X", help="Each so many kimg; without it ten times.")
@click.option("--init-from", metavar="RUN|MODEL", help="Start from trained weights (fine-tuning).")
@click.option("--out", metavar="DIR", help="The run's directory; without it runs/NNNNN-gen-disc.")
@click.option("--config", metavar="FILE", help="A TOML file of settings, such as another run's run.toml.")
@click.option(
    "--set", "sets", metavar="KEY=VALUE", multiple=True, help="Any setting: G.lr=1e-4, ema.half_life=5, gen.channels=32."
)
@click.option("--dry-run", is_flag=True, help="Show the resolved configuration and every check; read no image.")
def command(init_from: str | None, out: str | None, config: str | None, dry_run: bool, **given: Any) -> int:
    """Train a GAN.

    Without options: the default recipe on the embedded images.
    """
    from ganzoo.assembly import make_plan
    from ganzoo.config import read_config
    from ganzoo.registry import get_registry
    from ganzoo.runs import expanded
    from ganzoo.training import launched

    if launched() and not dry_run:
        from ganzoo.training import distributed

        distributed.join()  # before anything can fail: where one rank fails, the others hear of it
    registry = get_registry()
    layer = layer_of(registry, given)
    plan = make_plan(registry, layer, read_config(expanded(config)) if config else None)
    if given["data"] == plan.config.data.name and os.path.isdir(given["data"]):
        plan.notices.append(f"--data {given['data']} is the data set of that name; the folder is --data ./{given['data']}")
    if dry_run:
        from ganzoo.cli.dryrun import show

        show(plan)
        return 0
    from ganzoo.cli.display import display_for
    from ganzoo.training import launch

    display = display_for()
    session = launch.start(plan, expanded(out) if out else None, display, init_from)
    display.say(f"run {session.run.path}")
    return display.conclude(session.run, session.play())


def layer_of(registry: Any, given: Mapping[str, Any]) -> Layer:
    """The command line as the topmost layer: the options of `ganzoo train` by name; what is None or absent says nothing."""
    from ganzoo.assembly import data_spec
    from ganzoo.options import Raw, parse_resolution, parse_spec

    layer = Layer("command line")
    for key in ("gen", "disc", "loss", "aug", "game"):
        if given.get(key) is not None:
            layer.set_part(key, given[key])
    if given.get("data") is not None:
        layer.parts["data"] = data_spec(given["data"], registry)
    if given.get("res") is not None:
        layer.options["data"] = {"res": parse_resolution(given["res"])}
    if given.get("reg"):
        layer.regs_replace = "none" in given["reg"]
        layer.regs = [parse_spec(text) for text in given["reg"] if text != "none"]
    for key in ("recipe", "batch", "micro_batch", "kimg", "seed", "device", "precision"):
        if given.get(key) is not None:
            layer.set(key, Raw(given[key]))
    for key in ("compile", "graphs", "sync_bn"):
        if given.get(key):
            layer.set(key, True)
    if given.get("evals"):
        layer.set("eval.metrics", list(given["evals"]))
    if given.get("eval_every") is not None:
        layer.set("eval.every", Raw(given["eval_every"]))
    for text in given.get("sets", ()):
        layer.set_text(text)
    return layer
