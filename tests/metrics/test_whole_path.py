"""From pixels in a file to figures: against torch-fidelity with a feature network that both use, resized by Pillow for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity import calculate_metrics, register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from ganzoo.metrics.evaluation import evaluate
from ganzoo.plugin import DataSpec
from ganzoo.registry import create
from tests.conftest import Site

NETWORK = """
import torch
from ganzoo.interfaces import Features
class Mine(Features):
    channels, strides, width, size = (8,), (4,), 8, 24
    def __init__(self, data):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.conv = torch.nn.Conv2d(3, 8, 5, 4, 2)
        self.requires_grad_(False).train()
    def maps(self, images):
        return (self.conv(images).tanh(),)
    def forward(self, images):
        return 3 * self.maps(images)[0].mean((2, 3))
"""


class Theirs(FeatureExtractorBase):
    """The same network, of images that Pillow has resized: a cubic filter as wide as a new pixel, in floating point."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.network = create("features", "mine", DataSpec("image", (3, 40, 40)))

    @staticmethod
    def get_provided_features_list():
        return ("8",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "8"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, pixels):
        images = [
            np.stack(
                [np.asarray(Image.fromarray(c.astype(np.float32)).resize((24, 24), Image.Resampling.BICUBIC)) for c in image]
            )
            for image in pixels.numpy()
        ]
        return (self.network(torch.from_numpy(np.stack(images)) / 127.5 - 1),)


class Pixels(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = torch.from_numpy(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


@pytest.fixture
def network(site: Site, tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    component = 'Component("features", "mine", "mine_network:Mine", modality={"image"})'
    head = "from ganzoo.plugin import Component, hookimpl\nganzoo_api = 1\n@hookimpl\ndef ganzoo_components():\n"
    body = f"{head}    yield {component}\n"
    site.add("mine", body, files={"mine_network.py": NETWORK})
    from ganzoo.registry import get_registry

    get_registry.cache_clear()
    yield
    get_registry.cache_clear()


@pytest.mark.filterwarnings("default")  # of theirs
def test_the_whole_path(network, tmp_path):
    random = np.random.default_rng(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(150, 3, 10, 10, generator=torch.Generator().manual_seed(0)), scale_factor=4
    )
    real = (smooth[:80].numpy() * 255).astype(np.uint8)
    fake = (smooth[80:].numpy() ** 1.3 * 240 + 15 * random.random((70, 3, 40, 40))).astype(np.uint8)
    np.savez(tmp_path / "real.npz", samples=real)
    np.savez(tmp_path / "fake.npz", samples=fake)
    names = ["fd-mine", "kid-mine", "precision-mine", "recall-mine"]
    found = {r.metric: r for r in evaluate(tmp_path / "fake.npz", names, against=str(tmp_path / "real.npz"), device="cpu")}
    register_feature_extractor("mine", Theirs)
    theirs = calculate_metrics(
        input1=Pixels(fake),
        input2=Pixels(real),
        cuda=False,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="mine",
        feature_layer_fid="8",
        feature_layer_kid="8",
        feature_layer_prc="8",
        kid_subsets=1,
        kid_subset_size=70,
        cache=False,
        verbose=False,
        save_cpu_ram=False,
    )
    for ours, name in (
        ("fd-mine-24", "frechet_inception_distance"),
        ("precision-mine-24", "precision"),
        ("recall-mine-24", "recall"),
    ):
        assert found[ours].value == pytest.approx(theirs[name], rel=1e-4, abs=1e-7), ours
    assert found["kid-mine-24"].protocol["reals"] == 80
    # Their kernel distance is of as many on each side: so is ours, then.
    (again, *_) = evaluate(
        tmp_path / "fake.npz", ["kid-mine"], against=str(tmp_path / "real.npz"), device="cpu", samples=70, reals=70
    )
    rows = np.sort(np.random.default_rng(0).permutation(80)[:70])
    theirs = calculate_metrics(
        input1=Pixels(fake), input2=Pixels(real[rows]), cuda=False, kid=True, feature_extractor="mine", feature_layer_kid="8",
        kid_subsets=1, kid_subset_size=70, cache=False, verbose=False,
    )  # fmt: skip
    assert again.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
