"""timm's backbones: what they are shown, where their weights come from, and what is said when something is wrong."""

from __future__ import annotations

import pytest
import safetensors.torch
import timm
import torch

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import discriminators
from ganzoo_projected.backbones import Dinov2, TimmDiscriminator, TimmFeatures

IMAGES = DataSpec("image", (3, 32, 32))


@pytest.fixture
def weights(tmp_path):
    """A file of weights, and the model that they are of."""
    torch.manual_seed(1)
    model = timm.create_model("test_resnet")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    safetensors.torch.save_file(model.state_dict(), tmp_path / "resnet.safetensors")
    return str(tmp_path / "resnet.safetensors"), model.eval()


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_of_a_file_and_their_normalisation(weights, channels):
    path, model = weights
    disc = TimmDiscriminator(DataSpec("image", (channels, 40, 48)), backbone="test_resnet", weights=path).eval()
    images = torch.rand(2, channels, 40, 48) * 2 - 1
    config = timm.get_pretrained_cfg("test_resnet")
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
    pooled = model.forward_features(((images + 1) / 2).expand(-1, 3, -1, -1).sub(mean).div(std)).mean((2, 3))
    torch.testing.assert_close(disc(images, {}).features[0], pooled)


def test_features_of_a_file_are_the_models_own_maps(weights):
    path, model = weights
    features = TimmFeatures(IMAGES, backbone="test_resnet", weights=path)
    images = torch.rand(2, 3, 50, 70) * 2 - 1  # any size
    config = timm.get_pretrained_cfg("test_resnet")
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
    last = model.forward_features(((images + 1) / 2 - mean) / std)
    maps = features.maps(images)
    torch.testing.assert_close(maps[-1], last)
    torch.testing.assert_close(features(images), last.mean((2, 3)))
    sides = [(13, 18), (7, 9), (4, 5), (2, 3)]
    assert [tuple(x.shape[1:]) for x in maps] == [(c, *side) for c, side in zip(features.channels, sides, strict=True)]
    assert features.width == features.channels[-1]
    assert features.strides == (4, 8, 16, 32)


@pytest.mark.parametrize("backbone", ["test_vit", "swin_s3_tiny_224", "test_convnext"])
def test_maps_have_channels_first(backbone):
    data = DataSpec("image", (3, 224, 224)) if backbone.startswith("swin") else DataSpec("image", (3, 64, 64))
    features = TimmFeatures(data, backbone=backbone, pretrained=False)
    maps = features.maps(torch.zeros(1, *data.shape))
    side = data.resolution[0]
    assert [tuple(x.shape[1:]) for x in maps] == [
        (c, side // s, side // s) for c, s in zip(features.channels, features.strides, strict=True)
    ]


def test_models_with_fewer_maps_give_those():
    features = TimmFeatures(DataSpec("image", (3, 64, 64)), backbone="levit_128s", pretrained=False)
    assert features.strides == (16, 32, 64)
    assert len(features.maps(torch.zeros(1, 3, 64, 64))) == 3


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="eva02_tiny_patch14_224 takes sides that are multiples of 14, not 64x64"):
        TimmFeatures(DataSpec("image", (3, 64, 64)), backbone="eva02_tiny_patch14_224", pretrained=False)


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "test_vit"])
def test_what_has_no_second_derivative_is_replaced_by_the_same_numbers(backbone):
    disc = TimmDiscriminator(IMAGES, backbone=backbone, size=64).double().eval()
    plain = timm.create_model(backbone, num_classes=0, **({"img_size": 64} if "vit" in backbone else {})).double().eval()
    plain.load_state_dict(disc.backbone.model.state_dict())
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    said = disc(images * 2 - 1, {})
    config = timm.get_pretrained_cfg(backbone)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (config.mean, config.std))
    torch.testing.assert_close(said.features[0], plain((images - mean) / std), rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(said.logits.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert disc.head.weight.grad.isfinite().all()


def test_dinov2_is_the_class_token_behind_the_last_norm():
    name = "vit_small_patch14_dinov2"
    features = Dinov2(DataSpec("image", (1, 32, 32)), backbone=name, pretrained=False)
    plain = timm.create_model(name, num_classes=0, img_size=224).eval()
    plain.load_state_dict(features.backbone.model.state_dict())
    images = torch.rand(2, 1, 224, 224) * 2 - 1
    config = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
    tokens = plain.forward_features(((images + 1) / 2).expand(-1, 3, -1, -1).sub(mean).div(std))
    torch.testing.assert_close(features(images), tokens[:, 0], rtol=1e-4, atol=1e-4)
    assert [tuple(x.shape) for x in features.maps(images[..., :50])] == [(2, 384, 16, 4)] * 4
    with pytest.raises(ValueError, match="backbone=resnet18 is no DINOv2"):
        Dinov2(IMAGES, backbone="resnet18", pretrained=False)


@pytest.mark.parametrize("build", [TimmDiscriminator, TimmFeatures])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnt18"}, "backbone=resnt18 is not a model of timm's: did you mean 'resnet18'?"),
        ({"backbone": "resnet18.nope"}, "'resnet18' has no weights 'nope', but"),
        ({"backbone": "test_resnet", "weights": "nowhere.safetensors"}, "weights=nowhere.safetensors must be"),
        ({"backbone": "test_vit", "pretrained": False}, "cannot take images of 40x40"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(build, options, message):
    size = {"size": 40} if build is TimmDiscriminator else {}
    with pytest.raises(ValueError) as refused:
        build(DataSpec("image", (3, 40, 40)), **options, **size)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_of_other_models_and_other_kinds_are_refused(weights, tmp_path):
    path, model = weights
    with pytest.raises(ValueError, match="are not those of backbone=test_convnext"):
        TimmDiscriminator(IMAGES, backbone="test_convnext", weights=path)
    torch.save(model.state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match="must be a .safetensors file"):
        TimmDiscriminator(IMAGES, backbone="test_resnet", weights=str(tmp_path / "resnet.pth"))


def test_without_a_network_the_message_names_the_file(monkeypatch):
    made = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no network\nat all")
        return made(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError) as refused:
        TimmDiscriminator(IMAGES, backbone="resnet18", pretrained=True)
    message = str(refused.value)
    assert "download the model.safetensors of timm/resnet18" in message
    assert "weights=FILE.safetensors" in message
    assert "\n" not in message


def test_a_frozen_backbone_stays_in_eval_mode_and_only_the_head_learns():
    disc = TimmDiscriminator(IMAGES, backbone="test_resnet", frozen=True).train()
    assert {name for name, p in disc.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    before = {name: value.clone() for name, value in disc.backbone.state_dict().items()}
    disc(torch.rand(4, 3, 32, 32), {})
    assert all(torch.equal(value, before[name]) for name, value in disc.backbone.state_dict().items())


def test_projection_adds_the_inner_product_of_features_and_class():
    disc = TimmDiscriminator(IMAGES.replace(classes=("a", "b")), backbone="test_resnet").double().eval()
    images, labels = torch.randn(3, 3, 32, 32, dtype=torch.float64), torch.tensor([1, 0, 1])
    score = disc(images, {"labels": labels})
    h = score.features[0]
    expected = torch.stack([disc.head(h[i])[0] + disc.embedding.weight[labels[i]] @ h[i] for i in range(3)])
    torch.testing.assert_close(score.logits, expected)


@pytest.mark.parametrize(
    ("options", "resolution", "expected"),
    [
        ({"backbone": "test_resnet"}, (8, 8), (32, 32)),
        ({"backbone": "test_resnet"}, (40, 60), (40, 60)),
        ({"backbone": "test_resnet", "size": 64}, (8, 16), (64, 128)),
        ({"backbone": "test_resnet", "size": 32}, (64, 64), (32, 32)),
        ({"backbone": "test_vit"}, (8, 8), (160, 160)),
        ({"backbone": "test_vit", "size": 64}, (8, 8), (64, 64)),
    ],
)
def test_the_size_that_a_backbone_is_shown(options, resolution, expected):
    disc = TimmDiscriminator(DataSpec("image", (3, *resolution)), **options).eval()
    seen = []
    disc.backbone.model.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape[2:])))
    disc(torch.zeros(1, 3, *resolution), {})
    assert seen == [expected]


def test_the_default_backbone_is_differentiated_twice_rightly():
    data = DataSpec("image", (3, 8, 8))
    discriminators.check_discriminator_double_backward(get_registry().find("discriminator", "timm"), data, {})
