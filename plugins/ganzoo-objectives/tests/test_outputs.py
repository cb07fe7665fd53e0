"""Penalties on what D says: label smoothing, consistency, LeCam."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from ganzoo.interfaces import Play, Regularizer
from ganzoo.plugin import DataSpec
from ganzoo_objectives.losses import Hinge, Minimax, NonSaturating
from ganzoo_objectives.outputs import Consistency, LabelSmoothing, LeCam
from ganzoo_objectives.penalties import R1

DATA, F64 = DataSpec("image", (1, 6, 8)), torch.float64


# ---- label smoothing


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize(("real", "fake"), [(0.1, 0.0), (0.3, 0.2), (0.0, 0.4)])
@pytest.mark.parametrize("loss", [NonSaturating, Minimax])
def test_smoothing_is_the_cross_entropy_with_soft_targets(loss, real, fake, heads, build_match, phase_loss, fixed, told):
    reals, fakes = torch.randn(5, 7, dtype=F64), torch.randn(5, 7, dtype=F64)
    disc = told(7, heads=heads)
    match = build_match(fixed(fakes), disc, LabelSmoothing(DATA, real=real, fake=fake), loss=loss)
    expected = 0.0
    for images, target in ((reals, 1 - real), (fakes, fake)):
        for head in disc(images, {}).heads():
            expected += binary_cross_entropy_with_logits(head.logits, torch.full_like(head.logits, target)).item()
    assert phase_loss(match, "D", reals).item() == pytest.approx(expected, rel=1e-12)
    plain = build_match(fixed(fakes), disc, loss=loss)
    torch.testing.assert_close(phase_loss(match, "G", reals), phase_loss(plain, "G", reals))


@pytest.mark.parametrize(("real", "fake"), [(-0.1, 0.0), (1.0, 0.0), (0.6, 0.4), (0.1, -0.1)])
def test_targets_out_of_order_are_refused(real, fake):
    with pytest.raises(ValueError, match=f"real={real}, fake={fake}"):
        LabelSmoothing(DATA, real=real, fake=fake)


# ---- consistency


class Watching(nn.Module):
    """D(x) = w.x, and what it was shown."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(values, dtype=F64))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor, condition: object) -> Tensor:
        self.shown.append(images.detach())
        return images.flatten(1) @ self.w


def seen_slowly(row: list[float], shift: int, flip: bool) -> list[float]:
    """A row moved by `shift`, reflected without repeating the border, then flipped."""
    last = len(row) - 1
    out = []
    for i in range(len(row)):
        j = i - shift
        j = -j if j < 0 else 2 * last - j if j > last else j
        out.append(row[j])
    return out[::-1] if flip else out


@pytest.mark.parametrize(("shift", "flip"), [(0, True), (2, True), (3, True), (4, False)])
def test_transform_is_a_flip_and_a_shift(shift, flip):
    n = 2000
    images = torch.randn(1, 2, 6, 8).expand(n, -1, -1, -1)
    rows = [[[float(10 * i + j) for j in range(8)] for i in range(6)]]
    numbered = torch.tensor(rows).expand(n, 1, 6, 8)
    options = [
        (down, right, flipped)
        for down in range(-shift, shift + 1)
        for right in range(-shift, shift + 1)
        for flipped in ([False, True] if flip else [False])
    ]
    table = {}
    for down, right, flipped in options:
        lines = [
            seen_slowly([float(i) for i in range(6)], down, False),
            seen_slowly([float(j) for j in range(8)], right, flipped),
        ]
        table[tuple(10 * i + j for i in lines[0] for j in lines[1])] = (down, right, flipped)
    assert len(table) == len(options)
    moved = Consistency(DATA, shift=shift, flip=flip).transformed(numbered)
    drawn = [table[tuple(image.flatten().tolist())] for image in moved]  # KeyError: no flip and shift makes this
    counts = torch.tensor([drawn.count(option) for option in options], dtype=F64)
    expected = n / len(options)
    assert ((counts - expected) ** 2 / expected).sum() < len(options) + 6 * (2 * len(options)) ** 0.5
    channels = Consistency(DATA, shift=shift, flip=flip).transformed(images)
    assert channels.shape == images.shape
    for c in range(2):
        assert set(channels[:, c].flatten().tolist()) <= set(images[0, c].flatten().tolist())


@pytest.mark.parametrize(("weight", "fakes"), [(10.0, 0.0), (3.0, 5.0), (0.0, 2.0)])
def test_consistency_of_a_linear_d(weight, fakes, build_match, phase_loss, fixed):
    n = 8
    real, fake = torch.randn(n, 1, 6, 8, dtype=F64), torch.randn(n, 1, 6, 8, dtype=F64)
    disc = Watching(48)
    match = build_match(fixed(fake), disc, Consistency(DATA, weight=weight, fakes=fakes, shift=2))
    stats: dict[str, Tensor] = {}
    phase_loss(match, "D", real, stats=stats)
    assert torch.equal(disc.shown[0], real)  # the main loss sees no transform
    assert torch.equal(disc.shown[1], fake)
    moved = disc.shown[2:]
    assert len(moved) == (weight > 0) + (fakes > 0)
    expected = 0.0
    for factor, images in ((weight, real), (fakes, fake)):
        if factor:
            change = (moved.pop(0) - images).flatten(1) @ disc.w.detach()
            expected += factor * change.square().mean().item()
    assert expected > 0
    assert stats["D/Consistency0"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("channels", "size"), [(1, (6, 8)), (3, (6, 8)), (1, (3, 4))], ids=["grey", "colour", "smaller"])
def test_a_source_of_the_same_size_moves_with_its_image(channels, size, build_match, phase_loss, fixed):
    class Comparing(nn.Module):
        """-mean (x - s)^2, the source enlarged where it is smaller."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones((), dtype=F64))
            self.sources: list[Tensor] = []

        def forward(self, images: Tensor, condition: dict[str, Tensor]) -> Tensor:
            self.sources.append(condition["source"])
            source = interpolate(condition["source"], images.shape[2:])
            return -self.weight * (images - source).square().flatten(1).mean(1)

    source, disc = torch.randn(8, channels, *size, dtype=F64), Comparing()
    pairs = interpolate(source, (6, 8)).expand(8, 3, 6, 8)
    match = build_match(fixed(pairs), disc, Consistency(DATA, fakes=10.0))
    stats: dict[str, Tensor] = {}
    phase_loss(match, "D", pairs, stats=stats, source=source)
    moved = [not torch.equal(shown, source) for shown in disc.sources]
    if size == (6, 8):
        assert moved == [False, False, True, True]
        assert stats["D/Consistency0"].item() == 0  # wherever a pair went, its two are alike
    else:
        assert moved == [False] * 4  # T moves by the pixels of the image


@pytest.mark.parametrize("every", [1, 2])
def test_consistency_of_fakes_that_d_is_shown_others_for(every, build_match, phase_loss, fixed):
    class Pool(Regularizer):
        swaps = True
        kept = 0

        def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
            if real is not False:
                return images
            self.kept += 1
            return torch.zeros_like(images)

    fake = torch.ones(8, 1, 1, 1, dtype=F64) * torch.randn(8, dtype=F64)[:, None, None, None]
    pool = Pool(DATA)
    match = build_match(
        fixed(fake.expand(8, 1, 6, 8)), Watching(48), Consistency(DATA, weight=0.0, fakes=5.0, every=every), pool
    )
    stats: dict[str, Tensor] = {}
    phase_loss(match, "D", torch.randn(8, 1, 6, 8, dtype=F64), every=every, stats=stats)
    assert stats["D/Consistency0"].item() == 0  # an image of one colour is its own T
    assert pool.kept == (every == 1)  # by the main loss


def test_consistency_of_several_heads_and_in_a_phase_of_its_own(build_match, phase_loss, fixed, told):
    real, gen = torch.randn(4, 1, 6, 8, dtype=F64), fixed(torch.randn(4, 1, 6, 8, dtype=F64))
    disc = told(48, heads=3)
    match = build_match(gen, disc, Consistency(DATA, weight=2.0, fakes=1.0, every=4))
    assert [phase.every for phase in match.phases("D")] == [1, 4]
    phase_loss(match, "D", real, every=4).backward()
    assert disc.first.weight.grad.any()
    assert gen.sample.grad is None


def test_consistency_by_finite_differences(build_match, as_function, fixed, told):
    # the gradient goes through both branches
    real, disc = torch.randn(3, 1, 4, 4, dtype=F64), told(16)
    data = DataSpec("image", (1, 4, 4))
    match = build_match(fixed(torch.randn(3, 1, 4, 4, dtype=F64)), disc, Consistency(data, fakes=3.0, shift=1))
    value, where = as_function(match, real, "first.weight", "second.weight", "head.weight")
    assert torch.autograd.gradcheck(value, where)
    assert torch.autograd.gradgradcheck(value, where)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "weight=-1.0"),
        ({"weight": 0.0}, "fakes=0.0"),
        ({"shift": 6}, r"shift=6 must lie in 0\.\.5"),
        ({"shift": 0, "flip": False}, "shift=0 and flip=false"),
        ({"every": 0}, "every=0"),
    ],
)
def test_transforms_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Consistency(DATA, **options)


# ---- LeCam


@pytest.mark.parametrize("form", ["hinge", "square"])
@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("micro", [6, 2])
def test_lecam_by_hand(form, start, micro, build_match, phase_loss, affine, fixed):
    weight, decay = 0.7, 0.9
    real, fake = torch.randn(6, 1, dtype=F64), torch.randn(6, 1, dtype=F64)
    gen, disc = fixed(fake[:micro]), affine(torch.ones(1, dtype=F64))
    match = build_match(gen, disc, LeCam(DATA, weight=weight, decay=decay, start=start, form=form), loss=Hinge).double()

    def cost(t: float) -> float:
        return max(t, 0.0) ** 2 if form == "hinge" else t**2

    anchors, seen = (0.0, 0.0), []
    for step in range(6):
        scale, level = 0.5 * step - 1.0, 0.3 * step - 0.5
        with torch.no_grad():
            disc.w.fill_(scale)
            disc.b.fill_(level)
        r, f = [scale * x + level for x in real.flatten().tolist()], [scale * x + level for x in fake.flatten().tolist()]
        expected = 0.0
        if step >= max(1, start):
            crossed = [cost(a - anchors[1]) + cost(anchors[0] - b) for a, b in zip(r, f, strict=True)]
            expected = weight * sum(crossed) / 6
        got = 0.0
        for begin in range(0, 6, micro):
            with torch.no_grad():
                gen.sample.copy_(fake[begin : begin + micro])
            stats: dict[str, Tensor] = {}
            phase_loss(match, "D", real[begin : begin + micro], stats=stats)
            got += stats["D/LeCam0"].item() * micro / 6
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
        seen.append(got)
        match.after_step("D")
        means = (sum(r) / 6, sum(f) / 6)
        keep = decay if step >= max(1, start) else 0.0
        anchors = tuple(keep * a + (1 - keep) * m for a, m in zip(anchors, means, strict=True))
        match.after_step("G")
        match.after_step("D")  # a lazy phase: D was shown nothing of ours
        torch.testing.assert_close(match.regs[0].anchors, torch.tensor(anchors, dtype=F64))
        assert match.regs[0].steps == step + 1
    assert max(seen) > 0


def test_lecam_by_finite_differences(build_match, as_function, phase_loss, fixed, told):
    real, fake = torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64)
    match = build_match(fixed(fake), told(3), LeCam(DATA, start=0)).double()
    phase_loss(match, "D", real)
    match.after_step("D")
    match.regs[0].anchors.copy_(torch.tensor([0.5, -0.5]))  # both sides at work
    value, where = as_function(match, real, "first.weight", "head.weight", "head.bias")
    assert value(*where) > 0
    assert torch.autograd.gradcheck(value, where)
    assert torch.autograd.gradgradcheck(value, where)


def test_lecam_of_several_heads_beside_a_lazy_penalty(build_match, phase_loss, fixed, told):
    real, disc = torch.randn(4, 3, dtype=F64), told(3, heads=2)
    match = build_match(fixed(torch.randn(4, 3, dtype=F64)), disc, LeCam(DATA, start=0), R1(DATA, gamma=1.0, every=2)).double()
    for _ in range(2):
        phase_loss(match, "D", real).backward()
        match.after_step("D")
        phase_loss(match, "D", real, every=2).backward()
        match.after_step("D")
    with torch.no_grad():
        mean = disc(real, {}).per_sample().mean()
    torch.testing.assert_close(match.regs[0].anchors[0], mean)
    assert match.regs[0].steps == 2


def test_lecam_waits_for_its_start(build_match, fixed, told):
    reg = LeCam(DATA)
    match = build_match(fixed(torch.randn(4, 3, dtype=F64)), told(3), reg).double()
    batch = {"real": torch.randn(4, 3, dtype=F64), "x": torch.zeros(4, 1, dtype=F64)}
    for steps, begun in ((999, False), (1000, True)):
        reg.steps.fill_(steps)
        assert bool(reg(Play(match, "D", batch, 0)).any()) == begun


@pytest.mark.parametrize(
    ("options", "message"), [({"weight": -1.0}, "weight=-1.0"), ({"decay": 1.0}, "decay=1.0"), ({"start": -1}, "start=-1")]
)
def test_anchors_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LeCam(DATA, **options)
