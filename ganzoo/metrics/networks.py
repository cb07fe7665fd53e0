"""Feature networks of the core's own: the samples themselves, and the network of the Frechet Inception Distance."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Dataset, DataSpec, Features
from ganzoo.metrics.classifier import Classifier, enough_epochs, trained_classifier
from ganzoo.plugin import FilePath


class Raw(Features):
    """The samples themselves, flattened: pixels (of the data's own size), coordinates, amplitudes."""

    strides = (1,)

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.shape = data.shape
        self.channels = (data.channels,)
        self.width = int(torch.Size(data.shape).numel())
        self.train()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return (images,)

    def forward(self, images: Tensor) -> Tensor:
        """[N, width]; images of another size are resized to the data's."""
        images = images.float() if images.dtype is torch.bfloat16 else images
        if images.dim() == 4 and images.shape[2:] != self.shape[1:]:
            images = F.interpolate(images, self.shape[1:], mode="bilinear", align_corners=False, antialias=True)
        return images.flatten(1)


class ClassifierFeatures(Features):
    """A small network trained on the labels of the data at hand: vectors that know these classes and nothing else.

    It is trained when it first sees the data (seconds to minutes on a CPU) and kept in the cache; a tenth of the records tells
    its accuracy. Images of more than 32 pixels a side are reduced. Until it has seen data its weights are random.
    """

    channels = (32, 64, 128)
    strides = (2, 4, 8)
    width = Classifier.width
    size = 32

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        if data.modality != "image" or len(data.classes) < 2:
            raise ValueError("classifier learns from images of at least two classes: give data with labels")
        self.network = Classifier(data.channels, len(data.classes)).requires_grad_(False)
        self.train()

    def learn(self, dataset: Dataset) -> None:
        device = next(self.network.parameters()).device
        self.network = trained_classifier(dataset, epochs=enough_epochs(len(dataset))).to(device)

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        x, found = images.to(self.network.head.weight.dtype), []
        for layer in self.network.layers[:9]:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return tuple(found)

    def forward(self, images: Tensor) -> Tensor:
        return self.network.vectors(images.to(self.network.head.weight.dtype))

    def logits(self, vectors: Tensor) -> Tensor:
        logits: Tensor = self.network.head(vectors)
        return logits


class Inception(Features):
    """Inception-v3 of 2015 as torch-fidelity holds it: the network that FID and the Inception Score are defined with.

    Its weights are torch-fidelity's file, looked for where torch keeps downloads and else fetched. Raises ValueError, with what
    to put where, if they cannot be had, and for data that are no images of 1 or 3 channels.

    Options:
        weights: the file, .pth or .safetensors, where it is elsewhere
        pretrained: false: random weights, to try things without the file; its figures mean nothing
    """

    channels = (768, 2048)
    strides = (18, 38)
    width = 2048
    size = 299

    def __init__(self, data: DataSpec, *, weights: FilePath | None = None, pretrained: bool = True) -> None:
        super().__init__()
        if data.modality != "image" or data.channels not in (1, 3):
            raise ValueError(f"inception sees images of 1 or 3 channels, not {data.modality} data of shape {list(data.shape)}")
        network = _without_weights()
        if pretrained and torch.get_default_device().type != "meta":
            try:
                network.load_state_dict(_weights(weights))
            except RuntimeError as err:
                raise ValueError(f"weights={weights} are not those of torch-fidelity's Inception-v3") from err
        *layers, fc = network.children()
        self.before, self.after, self.pool = nn.Sequential(*layers[:-4]), nn.Sequential(*layers[-4:-1]), layers[-1]
        self.classes = fc.weight
        self.requires_grad_(False)
        self.train()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        first = self.before(self._input(images))
        return first, self.after(first)

    def forward(self, images: Tensor) -> Tensor:
        vector: Tensor = self.pool(self.maps(images)[-1]).flatten(1)
        return vector

    def logits(self, vectors: Tensor) -> Tensor:
        """[N, 1008], without the bias, as the Inception Score is computed with."""
        return vectors @ self.classes.T

    def _input(self, images: Tensor) -> Tensor:
        """(pixel - 128) / 128 of pixels from 0 to 255, in three channels."""
        images = images.to(self.classes.dtype)
        return (images * 127.5 - 0.5).expand(-1, 3, -1, -1) / 128


def _without_weights() -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ValueError("inception comes with torch-fidelity: pip install 'ganzoo-core[fid]'") from None

    class Bare(FeatureExtractorInceptionV3):  # type: ignore[misc]
        """Its constructor loads weights in any case: these are none, so that no pickle is read and nothing fetched."""

        def load_state_dict(self, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            return super().load_state_dict(state, *args, **kwargs) if state else None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("cpu"):
        network: nn.Module = Bare("inception", ["2048"], feature_extractor_weights_path=nothing)
    return network.to(torch.get_default_device())


def _weights(path: str | None) -> dict[str, Tensor]:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if path is None:
        place = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
        try:
            return dict(
                torch.hub.load_state_dict_from_url(URL_INCEPTION_V3, progress=False, check_hash=True, weights_only=True)
            )
        except (OSError, RuntimeError) as err:
            raise ValueError(
                f"the weights of inception could not be fetched ({' '.join(str(err).split())[:100]}): put "
                f"{place.name} of torch-fidelity's releases into {place.parent}, or give weights=FILE"
            ) from err
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"weights={path} is no file")
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return dict(torch.load(file, weights_only=True))
