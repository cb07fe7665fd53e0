"""Any of timm's image backbones: as a discriminator, trained or frozen, and as frozen features."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Features, Score
from ganzoo.plugin import FilePath

SMALLEST = 32  # shorter side that a convolutional backbone is shown: most have a stride of 32 in all
MAPS = 4  # of frozen features, the deepest ones, where there are so many

Size = tuple[int, int]


class Backbone(nn.Module):
    """A timm model that normalises its input itself: images [N, C, H, W] in [-1, 1] to what the model says of them.

    A single channel is repeated, three are normalised by the model's mean and deviation, other numbers by their averages.
    Raises ValueError for a name that timm does not have, for weights that are not there or not the model's, and for a size
    that it cannot take.

    fixed  it takes images of one size only, for which it was built
    shapes [1, ...] of what it says of an image: of its vector, or of each of its maps
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, data: DataSpec, size: Size, *, pretrained: bool, weights: str | None, **options: Any) -> None:
        super().__init__()
        if torch.get_default_device().type == "meta":
            pretrained = False  # a rehearsal of shapes: nothing is fetched for it
        config = configuration(name)
        self.fixed, self.repeat = is_fixed(config), 3 if data.channels == 1 else 1
        channels = data.channels * self.repeat
        if self.fixed and size != native(config):
            options["img_size"] = size
        with torch.device("cpu"):  # not on meta: many models read values while they are built
            self.model = create(name, pretrained, weights, in_chans=channels, **options)
            self.shapes = self._shapes(name, channels, size)
            mean, std = (torch.tensor(config.get(key) or (0.5,)) for key in ("mean", "std"))
            if channels != len(mean):
                mean, std = mean.mean().expand(channels), std.mean().expand(channels)
            # (images / 2 + 1 / 2 - mean) / std
            self.register_buffer("scale", (0.5 / std)[:, None, None].clone(), persistent=False)
            self.register_buffer("shift", ((0.5 - mean) / std)[:, None, None].clone(), persistent=False)
        differentiable_twice(self.model)
        self.to(torch.get_default_device())

    def forward(self, images: Tensor, ask: Callable[[Any, Tensor], Any] = lambda model, x: model(x)) -> Any:
        images = images.repeat(1, self.repeat, 1, 1) if self.repeat > 1 else images
        return ask(self.model, torch.addcmul(self.shift, images, self.scale))

    def _shapes(self, name: str, channels: int, size: Size) -> list[tuple[int, ...]]:
        try:
            with torch.no_grad():
                said = self.model.eval()(torch.zeros(1, channels, *size))
        except (AssertionError, RuntimeError, ValueError) as err:
            raise ValueError(
                f"backbone={name} cannot take images of {size[0]}x{size[1]} ({line(err)}): give another size"
            ) from err
        self.model.train()
        return [tuple(x.shape) for x in (said if isinstance(said, (list, tuple)) else [said])]


class HardSigmoid(nn.Module):
    """min(max(x + 3, 0), 6) / 6, of operations whose gradients can be differentiated again: torch's own cannot."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


def differentiable_twice(model: nn.Module) -> None:
    """Replace what has no second derivative by what computes the same: fused attention, hard sigmoids."""
    from timm.layers import HardSigmoid as TimmHardSigmoid

    for module in model.modules():
        if getattr(module, "fused_attn", False):
            module.fused_attn = False
        for name, child in module.named_children():
            if isinstance(child, nn.Hardsigmoid | TimmHardSigmoid):
                setattr(module, name, HardSigmoid())


def configuration(name: str) -> dict[str, Any]:
    """What timm knows of a model: its input, its weights. Raises ValueError with the nearest name."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), 1)
        hint = f"did you mean '{close[0]}'?" if close else "timm.list_models() lists them"
        raise ValueError(f"backbone={name} is not a model of timm's: {hint}")
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        raise ValueError(f"backbone={name}: '{architecture}' has no weights '{tag}', but {', '.join(tags) or 'none'}")
    config = timm.get_pretrained_cfg(name)
    return dict(config.to_dict()) if config is not None else {}


def create(name: str, pretrained: bool, weights: str | None, **options: Any) -> nn.Module:
    """The model, with its weights where they are asked for. Raises ValueError, one line that says which file would do."""
    import timm

    if weights is not None:
        path = Path(weights).expanduser()
        if path.suffix != ".safetensors" or not path.is_file():
            raise ValueError(f"weights={weights} must be a .safetensors file that is there")
        overlay = {"file": str(path), "source": ""}
        try:  # with its classifier: without one timm ignores what a file lacks or has too much
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError) as err:
            raise ValueError(f"weights={weights} are not those of backbone={name}: {line(err)}") from err
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    if not pretrained:
        return timm.create_model(name, **options)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as err:
        source = timm.get_pretrained_cfg(name).hf_hub_id
        file = f"the model.safetensors of {source}" if source else "its weights"
        raise ValueError(
            f"the weights of backbone={name} could not be fetched ({line(err)}): download {file} elsewhere and give "
            f"weights=FILE.safetensors, or say pretrained=false"
        ) from err


def is_fixed(config: dict[str, Any]) -> bool:
    """Whether a model is built for images of one size."""
    return bool(config.get("fixed_input_size"))


def native(config: dict[str, Any]) -> Size:
    """The sides of the images that a model was made for."""
    _, height, width = config.get("input_size") or (3, 224, 224)
    return height, width


def line(err: BaseException) -> str:
    """An error's words in one line."""
    return " ".join(str(err).split())[:160] or type(err).__name__


class TimmFeatures(Features):
    """A frozen timm model's last maps, four where it has them, and the mean of the last one over its places as a vector.

    Images [N, C, H, W] in [-1, 1]. Convolutional models take any size from about 32 pixels. Transformers and the like are
    built for the size of the data, a multiple of their patch, and images of other sizes are resized to it; their maps, of the
    last four blocks, are all of one size. Some models round the sides of their maps down (Inception).

    Options:
        backbone: a model of timm's, with its weights' tag where there are several: resnet50, resnet50.a1_in1k
        pretrained: fetch timm's weights (from timm's own store, into its cache); false: random ones
        weights: the file to take them from instead, in timm's naming, .safetensors
    """

    def __init__(
        self, data: DataSpec, *, backbone: str = "resnet18", pretrained: bool = True, weights: FilePath | None = None
    ) -> None:
        super().__init__()
        self.size: Size = (data.resolution[0], data.resolution[1])
        options: dict[str, Any] = {"pretrained": pretrained, "weights": weights, "features_only": True}
        try:
            self.backbone = Backbone(backbone, data, self.size, **options, out_indices=MAPS)
        except AssertionError:  # it has fewer
            self.backbone = Backbone(backbone, data, self.size, **options)
        info = self.backbone.model.feature_info
        self.channels, self.strides = tuple(info.channels()), tuple(info.reduction())
        if self.backbone.fixed and any(side % max(self.strides) for side in self.size):
            height, width = self.size
            raise ValueError(f"backbone={backbone} takes sides that are multiples of {max(self.strides)}, not {height}x{width}")
        self.width = self.channels[-1]
        self.last = getattr(getattr(self.backbone.model, "output_fmt", None), "value", None) == "NHWC"
        self.requires_grad_(False).eval()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.backbone.fixed and tuple(images.shape[2:]) != self.size:
            images = resized(images, self.size)
        maps = self.backbone(images)
        return tuple(x.permute(0, 3, 1, 2) if self.last else x for x in maps)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1].mean((2, 3))


class Dinov2(Features):
    """The class token of DINOv2's large model: [N, 1024], as people see it (Stein et al. 2023, arXiv:2306.04675).

    Images [N, C, H, W] in [-1, 1] of any size; metrics show them at 224, as the paper does. Places are embedded as timm
    interpolates them, which moves vectors a little from those of DINOv2's own code. Maps: patches of the last four blocks.

    Options:
        backbone: one of timm's DINOv2 models; a smaller one is another protocol
        pretrained: fetch timm's weights (from timm's own store, into its cache); false: random ones
        weights: the file to take them from instead, in timm's naming, .safetensors
    """

    size = 224

    def __init__(
        self,
        data: DataSpec,
        *,
        backbone: str = "vit_large_patch14_dinov2.lvd142m",
        pretrained: bool = True,
        weights: FilePath | None = None,
    ) -> None:
        super().__init__()
        if "dinov2" not in backbone:
            raise ValueError(f"backbone={backbone} is no DINOv2; features 'timm' take any backbone")
        options: dict[str, Any] = {"pretrained": pretrained, "weights": weights, "num_classes": 0, "global_pool": "token"}
        any_size = {"dynamic_img_size": True, "dynamic_img_pad": True}
        self.backbone = Backbone(backbone, data, (self.size, self.size), **options, **any_size)
        model: Any = self.backbone.model
        self.width = int(model.embed_dim)
        self.channels, self.strides = (self.width,) * MAPS, (int(model.patch_embed.patch_size[0]),) * MAPS
        self.requires_grad_(False).eval()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(images, lambda model, x: model.forward_intermediates(x, MAPS, intermediates_only=True)))

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)  # type: ignore[no-any-return]


class TimmDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], by a timm model's pooled features and a linear head.

    Labels: the inner product of the features and a class embedding is added (Miyato and Koyama 2018, arXiv:1802.05637).
    Attention and hard sigmoids are computed by operations that can be differentiated twice, the same numbers a little slower.
    Models with batch norm couple the samples of a batch in training, unless frozen.

    Options:
        backbone: a model of timm's, with its weights' tag where there are several: convnext_atto, resnet50.a1_in1k
        pretrained: fetch timm's weights (from timm's own store, into its cache); false: random ones
        weights: the file to take them from instead, in timm's naming, .safetensors
        frozen: only the head learns; the backbone stays in eval mode
        size: images are resized in proportion (bilinear) until their shorter side has it; none: the data's own, from 32, or
            the backbone's own where it takes one size only
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        backbone: str = "resnet18",
        pretrained: bool = False,
        weights: FilePath | None = None,
        frozen: bool = False,
        size: int | None = None,
    ) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise ValueError(f"size={size} must be at least 1")
        config = configuration(backbone)
        height, width = data.resolution
        shorter = max(SMALLEST, min(height, width)) if size is None else size
        factor = shorter / min(height, width)
        self.size: Size = (round(height * factor), round(width * factor))
        if size is None and is_fixed(config):
            self.size = native(config)
        self.backbone = Backbone(backbone, data, self.size, pretrained=pretrained, weights=weights, num_classes=0)
        self.frozen = frozen
        if frozen:
            self.backbone.requires_grad_(False).eval()
        features = self.backbone.shapes[0][1]
        self.head = nn.Linear(features, 1)
        self.embedding = nn.Embedding(len(data.classes), features) if data.classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, features**-0.5)

    def train(self, mode: bool = True) -> TimmDiscriminator:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor, condition: Condition) -> Score:
        if tuple(images.shape[2:]) != self.size:
            images = resized(images, self.size)
        h = self.backbone(images)  # [N, F]
        logits = self.head(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(condition["labels"]) * h).sum(1)
        return Score(logits, (h,))


def resized(images: Tensor, size: Size) -> Tensor:
    """[N, C, H, W] to other sides, bilinear, with a filter against aliasing where they become smaller."""
    smaller = size[0] < images.shape[2] or size[1] < images.shape[3]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=smaller)
