"""f-AnoGAN: scores against a computation by hand, a fit that goes on bit for bit, and what stays as it was."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import anomaly
from ganzoo.data.arrays import Array
from ganzoo.data.cache import materialise
from ganzoo.errors import DataError, NonFiniteError, RunError, UsageError
from ganzoo.inversion import Encoder, Frozen, compare
from ganzoo.plugin import DataSpec
from ganzoo.runs import Run
from ganzoo.training import checkpoint

CPU = torch.device("cpu")
PLAIN = {
    "gen": {"name": "dcgan", "channels": 4, "z_dim": 6},
    "disc": {"name": "dcgan", "channels": 4, "norm": "none"},
    "loss": "non-saturating",
    "reg": [],
    "aug": "none",
    "batch": 8,
    "kimg": 0.032,
    "device": "cpu",
}
GROUPED = {**PLAIN, "disc": {"name": "dcgan", "channels": 4, "norm": "batch", "minibatch_stddev": 4, "hidden": 5}}
PACKED = {**PLAIN, "reg": [{"name": "packing", "m": 2}]}


def images(n: int, classes: int = 0, shape: tuple[int, ...] = (8, 8, 1)) -> dict[str, Any]:
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {"images": random.integers(0, 256, (n, *shape), np.uint8)}
    return arrays | ({"labels": np.arange(n) % classes} if classes else {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`trained(config, classes)`: the path of a run of a few rounds on noise, once a module."""
    root, made = tmp_path_factory.mktemp("trained"), {}

    def train(config: dict[str, Any], classes: int = 0) -> Path:
        key = json.dumps([config, classes])
        if key not in made:
            data = root / f"{classes}.npz"
            np.savez(data, **images(40, classes))
            table = {**config, "data": {"name": "array", "path": str(data), "layout": "nhwc"}}
            made[key] = ganzoo.train(table, root / f"run{len(made)}").path
        return made[key]

    return train


@pytest.fixture
def copied(trained: Any, tmp_path: Path) -> Any:
    """The same, copied: a fit writes into it."""
    import shutil

    def copy_of(config: dict[str, Any], classes: int = 0) -> Path:
        path = tmp_path / "run"
        shutil.copytree(trained(config, classes), path, dirs_exist_ok=True)
        return path

    return copy_of


def frozen(path: Path) -> Frozen:
    run = Run(path)
    saved = checkpoint.newest(run, print)
    assert saved is not None
    return Frozen(run, saved, CPU)


# ---------------------------------------------------------------- scores


class ByHand:
    """G doubles the noise on two of three pixels and adds the class; D's features are the sum and three times the first."""

    data = DataSpec("image", (1, 1, 3), classes=("a", "b"))

    def generate(self, z: Tensor, labels: Tensor | None) -> Tensor:
        made = torch.zeros(len(z), 1, 1, 3)
        made[:, 0, 0, :2] = 2 * z
        return made if labels is None else made + labels[:, None, None, None]

    def look(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return torch.stack([images.sum((1, 2, 3)), 3 * images[:, 0, 0, 0]], 1)


def test_a_score_by_hand() -> None:
    x = torch.tensor([[0.5, -0.5, 0.25]]).view(1, 1, 1, 3)
    z = torch.tensor([[0.125, 0.0]])
    # G(z) = (.25, 0, 0); x - G(z) = (.25, -.5, .25); h(x) = (.25, 1.5), h(G(z)) = (.25, .75)
    scores = compare(ByHand(), z, x, None, 2.0)  # type: ignore[arg-type]
    assert scores.residual.item() == pytest.approx((0.0625 + 0.25 + 0.0625) / 3)
    assert scores.features.item() == pytest.approx((0 + 0.5625) / 2)
    assert scores.score.item() == pytest.approx(0.125 + 2 * 0.28125)
    assert anomaly.heat_map(x, scores.made).flatten().tolist() == [0.25, 0.5, 0.25]
    # As class 1 G(z) is (1.25, 1, 1).
    other = compare(ByHand(), z, x, torch.tensor([1]), 0.0)  # type: ignore[arg-type]
    assert other.score.item() == pytest.approx((0.5625 + 2.25 + 0.5625) / 3)
    assert other.features.item() == 0  # k = 0: D is not asked


def test_of_all_classes_the_one_with_the_least_score() -> None:
    detector = anomaly.Detector.__new__(anomaly.Detector)
    detector.frozen, detector.data, detector.device = ByHand(), ByHand.data, CPU  # type: ignore[assignment]
    detector.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    nn.init.zeros_(detector.encoder[1].weight)
    detector.settings, detector.mean = anomaly.Settings(k=1.0), torch.full((1, 1, 3), 0.25)
    x = torch.tensor([[0.1, 0.2, 0.0], [0.9, 1.0, 0.8]]).view(2, 1, 1, 3)
    found = detector(x)
    assert found.label is not None
    assert found.label.tolist() == [0, 1]
    torch.testing.assert_close(found.residual, torch.tensor([0.05 / 3, 0.05 / 3]))
    torch.testing.assert_close(found.made.flatten(1), torch.tensor([[0.0] * 3, [1.0] * 3]))
    torch.testing.assert_close(detector.baseline(x)[0], torch.tensor((0.15**2 + 0.05**2 + 0.25**2) / 3))


@pytest.mark.parametrize("config", [PLAIN, GROUPED, PACKED], ids=["plain", "grouped", "packed"])
def test_an_image_is_judged_alone(trained: Any, config: dict[str, Any]) -> None:
    """Whatever stands beside it in the batch, even for a D that compares the images of a group."""
    network = frozen(trained(config))
    batch = torch.rand(8, 1, 8, 8) * 2 - 1
    together = network.look(batch, None)
    assert together.ndim == 2
    for i in range(8):
        torch.testing.assert_close(network.look(batch[i : i + 1], None), together[i : i + 1])


def test_the_features_are_d_s_deepest(trained: Any) -> None:
    path = trained(PLAIN)
    network, batch = frozen(path), torch.rand(3, 1, 8, 8)
    saved = checkpoint.newest(Run(path), print)
    assert saved is not None
    weights = {name[2:]: value for name, value in saved.tensors("players").items() if name.startswith("D.")}
    x = nn.functional.conv2d(batch, weights["convolutions.0.weight"], weights["convolutions.0.bias"], 2, 1)
    torch.testing.assert_close(network.look(batch, None), nn.functional.leaky_relu(x, 0.2).flatten(1))


def test_the_generator_is_the_averaged_one(trained: Any) -> None:
    path = trained(PLAIN)
    model, network = ganzoo.load(path), frozen(path)
    x, _ = model.inputs(range(4))
    torch.testing.assert_close(network.generate(x, None), model.generate(x))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 28, 28), (3, 64, 32)], ids=str)
def test_an_encoder_of_any_size(shape: tuple[int, ...]) -> None:
    x = torch.randn(4, *shape)
    normal, uniform = (Encoder(DataSpec("image", shape), 7, prior, 4) for prior in ("normal", "uniform"))
    assert normal(x).shape == (4, 7)
    assert uniform(100 * x).abs().max() <= 1
    assert (100 * normal(x)).abs().max() > 1


# ---------------------------------------------------------------- AUROC


def test_auroc_by_hand() -> None:
    """Of 3 x 4 pairs 7 are right, 3 are ties; the error by Hanley and McNeil's formula, term by term."""
    found = anomaly.auroc([3, 2, 2, 1, 2, 3, 0], [True, True, True, False, False, False, False])
    a = (7 + 3 / 2) / 12
    assert found.value == pytest.approx(a)
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    assert found.error == pytest.approx(math.sqrt((a * (1 - a) + 2 * (q1 - a**2) + 3 * (q2 - a**2)) / 12))
    assert found.error == pytest.approx(0.21542, abs=1e-5)
    assert anomaly.auroc([1, 2], [False, True]).value == 1
    assert anomaly.auroc([1, 1, 1], [False, True, True]).value == 0.5
    with pytest.raises(ValueError, match="both are needed"):
        anomaly.auroc([1, 2], [True, True])


# ---------------------------------------------------------------- the fit


class Stop(Exception):
    pass


def states(path: Path) -> dict[str, Tensor]:
    saved = checkpoint.newest(Run(path / "anomaly"), print)
    assert saved is not None
    return {f"{name}.{key}": t for name in ("encoder", "optimizer", "random", "mean") for key, t in saved.tensors(name).items()}


@pytest.mark.parametrize(("config", "classes"), [(PLAIN, 0), (GROUPED, 3)], ids=["plain", "labelled"])
def test_a_killed_fit_goes_on_bit_for_bit(copied: Any, config: dict[str, Any], classes: int, monkeypatch: Any) -> None:
    path = copied(config, classes)
    options = {"kimg": 2.5, "batch": 16, "lr": 1e-3}
    anomaly.fit(path, **options)
    whole = states(path)

    save, seen = anomaly.Fit.save, []

    def killed(self: anomaly.Fit, place: anomaly.Place) -> None:
        save(self, place)
        seen.append(self.nimg)
        if len(seen) == 4:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(anomaly.Fit, "save", killed)
        with pytest.raises(Stop):
            anomaly.fit(path, restart=True, **options)
    torch.rand(5)  # the random state of the process that goes on is another
    session = anomaly.begin(path)
    assert 0 < session.fit.nimg < session.fit.total
    assert session.play() == "done"
    again = states(path)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_generator_and_discriminator_stay_as_they_were(copied: Any) -> None:
    path = copied(GROUPED)
    files = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}
    session = anomaly.begin(path, {"kimg": 0.2})
    networks = (session.fit.frozen.generator, session.fit.frozen._match)
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    encoder = copy.deepcopy(session.fit.encoder.state_dict())
    session.play()
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        assert not any(p.requires_grad for p in network.parameters())
    assert any(not torch.equal(value, encoder[name]) for name, value in session.fit.encoder.state_dict().items())
    assert all(p.read_bytes() == content for p, content in files.items())


def test_it_learns_what_the_generator_makes(trained: Any, tmp_path: Path) -> None:
    """Fitted to G's own images it finds them again, and images of another kind it does not."""
    import shutil

    path = tmp_path / "run"
    shutil.copytree(trained(PLAIN), path)
    made = ganzoo.load(path).sample(512)
    np.savez(tmp_path / "made.npz", images=((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    anomaly.fit(path, data=str(tmp_path / "made.npz"), kimg=20, lr=2e-3, k=0.0)
    detector = anomaly.Detector(path)
    own, other = detector(ganzoo.load(path).sample(64, seed=1000)), detector(torch.randn(64, 1, 8, 8).sign())
    assert own.score.mean() < 0.2 * detector.baseline(ganzoo.load(path).sample(64, seed=1000)).mean()
    assert anomaly.auroc([*own.score, *other.score], [False] * 64 + [True] * 64).value == 1


def test_the_mean_image(tmp_path: Path) -> None:
    arrays = images(5, shape=(8, 9, 3))
    np.savez(tmp_path / "a.npz", **arrays)
    store = materialise(Array(path=str(tmp_path / "a.npz")))
    want = arrays["images"].astype(np.float64).mean(0).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(anomaly.mean_image(store, False).numpy(), want, atol=1e-6)
    np.testing.assert_allclose(anomaly.mean_image(store, True).numpy(), (want + want[..., ::-1]) / 2, atol=1e-6)


def test_the_networks_of_a_fit_outlive_their_checkpoint(copied: Any) -> None:
    """The run is trained on and deletes it: scores stay those of the networks that the encoder was fitted to."""
    path = copied(PLAIN)
    anomaly.fit(path, kimg=0.2)
    x = torch.rand(3, 1, 8, 8)
    before = anomaly.Detector(path)(x).score
    run = Run(path)
    [newest, *_] = run.checkpoints()
    ganzoo_resume(path, 0.064)
    assert not newest.exists() or run.checkpoints()[0] != newest
    torch.testing.assert_close(anomaly.Detector(path)(x).score, before, rtol=0, atol=0)
    anomaly.fit(path, kimg=0.4)  # goes on with those networks too
    assert anomaly.Detector(path).checkpoint == newest.name
    anomaly.fit(path, kimg=0.2, restart=True)
    assert anomaly.Detector(path).checkpoint == run.checkpoints()[0].name


def ganzoo_resume(path: Path, kimg: float) -> None:
    from ganzoo.training import launch
    from ganzoo.training.display import Quiet

    launch.resume(path, Quiet(), kimg).play()


def test_a_run_in_training_can_be_fitted(copied: Any) -> None:
    path = copied(PLAIN)
    run = Run(path)
    run.lock()
    anomaly.fit(path, kimg=0.2)
    run.unlock()


def test_two_fits_at_once(copied: Any) -> None:
    path = copied(PLAIN)
    session = anomaly.begin(path, {"kimg": 0.2})
    with pytest.raises(RunError, match="in use by another process"):
        anomaly.begin(path)
    session.play()
    anomaly.begin(path).play()


# ---------------------------------------------------------------- what is refused


def test_a_fit_goes_on_as_it_began(copied: Any) -> None:
    path = copied(PLAIN)
    anomaly.fit(path, kimg=0.2)
    for given in ({"lr": 1e-4}, {"k": 0.5}, {"batch": 8}, {"seed": 1}, {"data": "emoji"}):
        with pytest.raises(UsageError, match="--restart"):
            anomaly.begin(path, given)
    session = anomaly.begin(path, {"lr": 5e-4})  # the same is no change
    session.place.unlock()
    assert session.fit.nimg == 256


@pytest.mark.parametrize("given", [{"kimg": 0}, {"lr": -1.0}, {"k": math.nan}, {"batch": 0}, {"lr": math.inf}], ids=str)
def test_settings_out_of_range(copied: Any, given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(given))}"):
        anomaly.begin(copied(PLAIN), given)


def test_a_loss_that_is_not_finite(copied: Any) -> None:
    path = copied(PLAIN)
    with pytest.raises(NonFiniteError, match="--lr"):
        anomaly.fit(path, kimg=3, lr=1e30)
    anomaly.fit(path, kimg=0.1, restart=True)


def test_other_data_must_fit(copied: Any, tmp_path: Path) -> None:
    path = copied(PLAIN, classes=3)
    np.savez(tmp_path / "rgb.npz", **images(8, 3, (8, 8, 3)))
    np.savez(tmp_path / "more.npz", **images(8, 4))
    np.savez(tmp_path / "none.npz", **images(8))
    np.savez(tmp_path / "large.npz", **images(9, 2, (16, 16, 1)))
    for name, says in (("rgb", "8x8 in 3 channels"), ("more", "class '3'"), ("none", "must say which")):
        with pytest.raises(UsageError, match=says):
            anomaly.begin(path, {"data": str(tmp_path / f"{name}.npz")})
    session = anomaly.begin(path, {"data": str(tmp_path / "large.npz"), "kimg": 0.1})  # reduced
    session.play()


def test_data_that_are_gone(copied: Any, tmp_path: Path) -> None:
    path = copied(PLAIN)
    table = (path / "run.toml").read_text()
    (path / "run.toml").write_text(table.replace("0.npz", "gone.npz"))
    with pytest.raises(DataError, match="--data"):
        anomaly.begin(path)
    np.savez(tmp_path / "other.npz", **images(9))
    anomaly.begin(path, {"data": str(tmp_path / "other.npz"), "kimg": 0.1}).play()
    assert anomaly.Detector(path).settings.data is not None


def test_no_fit_and_a_damaged_one(copied: Any) -> None:
    path = copied(PLAIN)
    with pytest.raises(UsageError, match="ganzoo anomaly fit"):
        anomaly.Detector(path)
    anomaly.fit(path, kimg=0.2)
    for file in path.glob("anomaly/checkpoints/*/encoder.safetensors"):
        file.write_bytes(b"")
    for call in (anomaly.Detector, anomaly.begin):
        with pytest.raises(RunError, match="damaged.*--restart"):
            call(path)
    anomaly.begin(path, restart=True).place.unlock()
    anomaly.fit(path, kimg=0.2, restart=True)
    (path / "anomaly/networks/players.safetensors").unlink()
    with pytest.raises(RunError, match="damaged.*--restart"):
        anomaly.Detector(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"name": "ring"}, "gen": "mlp", "disc": "mlp"},
        {"data": {"name": "emoji-pairs", "labels": False, "res": [8, 8]}, "gen": "unet", "disc": "patch:n_layers=1"},
    ],
    ids=["points", "translation"],
)
def test_generators_that_cannot_be_asked(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = ganzoo.train({**PLAIN, "batch": 4, "kimg": 0.004, **changes}, tmp_path / "run").path
    with pytest.raises(UsageError, match="noise|images from 8x8"):
        anomaly.begin(path)
    assert not (path / "anomaly").exists()
