"""The model card of an exported generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganzoo.runs import Run, quote

if TYPE_CHECKING:
    from ganzoo.models import Model


def model_card(model: Model, run: Run) -> str:
    """Markdown: what the model makes, how it was made, how to use it, and what is not known."""
    table = run.config()
    config, gen = model.config, model.config["generator"]
    parts = {key: table[key]["name"] for key in ("gen", "disc", "loss", "game", "data")}
    parts |= {f"reg.{reg['name']}": reg["name"] for reg in table.get("reg", [])}
    parts |= {"aug": table["aug"]["name"]} if isinstance(table.get("aug"), dict) else {}
    rows = "\n".join(
        f"| {key.partition('.')[0]} | {name} | {config['components'].get(key, '')} |" for key, name in parts.items()
    )
    names = model.destinations if model.translates else model.data.classes
    classes = f"\n\n{'Domains' if model.data.domains else 'Classes'}: {', '.join(names)}." if names else ""
    encoder = config.get("encoder", {})
    needed = " ".join(dict.fromkeys(["ganzoo-core", gen["plugin"], *([encoder["plugin"]] if encoder else [])]))
    told = f" It makes images of captions, whose vectors are those of encoder '{encoder['name']}'." if encoder else ""
    speeds: list[Any] = [line.get("diversity") for line in run.log() if line.get("diversity") is not None]
    diversity = (
        f"\n- Two samples of a batch were {speeds[-1]:.2f} times as far apart as two training samples." if speeds else ""
    )
    command, code = _use(model)
    return f"""# {gen["name"]} on {parts["data"]}

{_what(model)}, trained with ganzoo.{told}{classes}

## Use

```sh
pip install {needed}
{command}
```
```python
import ganzoo

{code}
```

## How it was made

| part | name | distribution |
|---|---|---|
{rows}

- {config["kimg"]:g} thousand images seen, batch {table["batch"]}, seed {config["seed"]}, averaged weights
  (half-life {table["ema"]["half_life"]} kimg), {table["precision"]}.{diversity}
- {table.get("dataset", {}).get("records", "?")} training records.

## What to know

No evaluation was made when this card was written: look at {"results" if model.translates else "samples"} before you rely on it.
{_caution(model)}
The licence of the weights follows from that data and is for whoever shares them to state.
"""


def _what(model: Model) -> str:
    if not model.translates:
        return f"A generator of {model.data.modality} data of shape {list(model.data.shape)}"
    eaten, made = (f"{spec.channels}-channel" for spec in (model.data.source or model.data, model.data))
    if model.scale != (1, 1):
        times = " and ".join(f"{factor} times" for factor in dict.fromkeys(model.scale))
        return f"It makes {made} images {times} as large as the {eaten} images that it is given, of any size"
    back = "; it is the way back, to the source of its data" if model.config.get("to") == "A" else ""
    return f"It makes {made} images from {eaten} images of any size{back}"


def _use(model: Model) -> tuple[str, str]:
    """A command, and the same in Python."""
    shape = ", ".join(map(str, model.data.shape))
    if not model.translates:
        words, text = (' --text "a caption"', ', text="a caption"') if "encoder" in model.config else ("", "")
        code = f'images = ganzoo.load(".").sample(64{text})  # [64, {shape}]'
        return f"ganzoo sample .{words} --n 64 --out samples.png", code
    name = next(iter(model.destinations), None)
    command = "translate" if model.scale == (1, 1) else "upscale"
    option, argument = (f" --to {quote(name)}", f", to={name!r}") if name is not None else ("", "")
    return (
        f"ganzoo {command} . photo.jpg --out results{option}",
        f'images = ganzoo.load(".").translate(photos{argument})  # [N, C, H, W] in [-1, 1], any H and W',
    )


def _caution(model: Model) -> str:
    if model.translates:
        return "It invents what its input does not show, and repeats the biases of its training data."
    return "A generator repeats the biases of its training data and may repeat single training images."
