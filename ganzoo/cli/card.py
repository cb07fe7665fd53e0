"""The model card of an exported generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganzoo.runs import Run

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
    classes = f"\n\nClasses: {', '.join(model.data.classes)}." if model.data.classes else ""
    encoder = config.get("encoder", {})
    needed = " ".join(dict.fromkeys(["ganzoo-core", gen["plugin"], *([encoder["plugin"]] if encoder else [])]))
    words, text = (' --text "a caption"', ', text="a caption"') if encoder else ("", "")
    told = f" It makes images of captions, whose vectors are those of encoder '{encoder['name']}'." if encoder else ""
    speeds: list[Any] = [line.get("diversity") for line in run.log() if line.get("diversity") is not None]
    diversity = (
        f"\n- Two samples of a batch were {speeds[-1]:.2f} times as far apart as two training samples." if speeds else ""
    )
    return f"""# {gen["name"]} on {parts["data"]}

A generator of {model.data.modality} data of shape {list(model.data.shape)}, trained with ganzoo.{told}{classes}

## Use

```sh
pip install {needed}
ganzoo sample .{words} --n 64 --out samples.png
```
```python
import ganzoo

images = ganzoo.load(".").sample(64{text})  # [64, {", ".join(map(str, model.data.shape))}]
```

## How it was made

| part | name | distribution |
|---|---|---|
{rows}

- {config["kimg"]:g} thousand images seen, batch {table["batch"]}, seed {config["seed"]}, averaged weights
  (half-life {table["ema"]["half_life"]} kimg), {table["precision"]}.{diversity}
- {table.get("dataset", {}).get("records", "?")} training records.

## What to know

No evaluation was made when this card was written: look at samples before you rely on it. A generator repeats the
biases of its training data and may repeat single training images. The licence of the weights follows from that data
and is for whoever shares them to state.
"""
