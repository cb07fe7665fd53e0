"""The loop: phases and their clocks, micro-batches, who learns when, and what happens when numbers go wrong."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.config import EmaConfig, PlayerConfig, Settings
from ganzoo.errors import NonFiniteError, RunError, UsageError
from ganzoo.interfaces import Batch, DataSpec, Game, Phase
from ganzoo.runs import Run
from ganzoo.training import checkpoint
from ganzoo.training.trainer import Trainer, choose_device


class Toy(Game):
    """G minimises (g - mean of the data)^2, D the same with its own parameter; each call is noted."""

    def __init__(self, phases: list[Phase]) -> None:
        super().__init__(DataSpec("points", (1,)))
        self.players.update({"G": nn.Linear(1, 1), "D": nn.Linear(1, 1)})
        self.list, self.log = phases, []
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.players["D"].frozen = self.frozen
        self.poison: float = 0.0

    def phases(self) -> list[Phase]:
        return self.list

    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": torch.randn(len(batch["real"]), 1, generator=generator)}

    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Any:
        own, other = self.players[phase.player], self.players["G" if phase.player == "D" else "D"]
        assert own.weight.requires_grad
        assert not other.weight.requires_grad
        assert not self.frozen.requires_grad
        self.log.append((phase.name, nimg, batch["real"].flatten().tolist(), batch["x"].flatten().tolist()))
        loss = (own(batch["real"]) - 1).square().mean()
        self.stats[f"{phase.player}/loss"] = loss.detach()
        yield "first", loss * (math.nan if self.poison and nimg >= self.poison else 1.0)
        yield "second", own(batch["x"]).square().mean()

    def generate(self, generator: nn.Module, batch: Batch) -> Tensor:
        return generator(batch["x"])


class Count:
    """Batches 0, 1, 2, ... whose images are their positions."""

    def __init__(self, batch: int) -> None:
        self.position, self.batch = 0, batch

    def draw(self) -> Batch:
        start = self.position
        self.position += self.batch
        return {"real": torch.arange(start, self.position, dtype=torch.float)[:, None] / 10}

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


PHASES = [Phase("D/main", "D"), Phase("D/every3", "D", 3), Phase("G/main", "G", start=2)]


def make(phases: list[Phase] = PHASES, seed: int = 0, **settings: Any) -> Trainer:
    torch.manual_seed(seed)
    player = {"lr": 1e-2, "betas": (0.0, 0.9)}
    given: dict[str, Any] = {
        "batch": 4,
        "kimg": 0.024,
        "D": PlayerConfig(**player),
        "G": PlayerConfig(**player),
        "ema": EmaConfig(half_life=0.01),
    }
    return Trainer(Toy(phases), Count(4), Settings(**{**given, **settings}), torch.device("cpu"))


def played(trainer: Trainer) -> list[tuple[str, int]]:
    return [(name, nimg // 4) for name, nimg, *_ in trainer.game.log]


def test_phases_keep_their_clocks() -> None:
    trainer = make()
    assert trainer.train() == "done"
    assert trainer.nimg == 24
    main = [("D/main", i) for i in range(6)]
    lazy = [("D/every3", 0), ("D/every3", 3)]
    assert sorted(played(trainer)) == sorted(main + lazy + [("G/main", i) for i in range(2, 6)])


def test_a_round_shares_its_batch_and_repeats_draw_fresh_ones() -> None:
    trainer = make(D=PlayerConfig(steps=2), kimg=0.008)
    trainer.train()
    rounds = [[entry for entry in trainer.game.log if entry[1] == nimg] for nimg in (0, 4)]
    first, fresh, lazy = rounds[0]
    assert (first[0], fresh[0], lazy[0]) == ("D/main", "D/main", "D/every3")
    assert first[2:] == lazy[2:]  # images and noise
    assert first[2] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert fresh[2] == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert first[3] != fresh[3]
    assert rounds[1][0][2][0] == pytest.approx(0.8)


def test_lazy_gradients_are_multiplied_and_micro_batches_weighted() -> None:
    """Against plain autograd on the whole batch; 3 does not divide 4."""
    for micro, phase in [(None, PHASES[0]), (3, PHASES[0]), (3, PHASES[1]), (1, PHASES[1])]:
        trainer = make([phase, PHASES[2]] if phase.every == 1 else PHASES, micro_batch=micro)
        batch = trainer._draw()
        twin = copy.deepcopy(trainer.game.players["D"]).requires_grad_(True)
        ((twin(batch["real"]) - 1).square().mean() + twin(batch["x"]).square().mean()).mul(phase.every).backward()
        trainer._step(phase, batch)
        for mine, theirs in [(trainer.game.players["D"].weight, twin.weight), (trainer.game.players["D"].bias, twin.bias)]:
            assert torch.allclose(mine.grad, theirs.grad, rtol=1e-5)


def test_everything_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    straight = make(G=PlayerConfig(lr="linear(1e-2, 0)", betas=(0.5, 0.9)))
    straight.train()
    first = make(G=PlayerConfig(lr="linear(1e-2, 0)", betas=(0.5, 0.9)))
    first.total = 12
    first.train()
    run = Run(tmp_path)
    first.save(run)
    second = make(G=PlayerConfig(lr="linear(1e-2, 0)", betas=(0.5, 0.9)), seed=9)
    second.resume(checkpoint.newest(run, print))
    assert (second.nimg, second.round) == (12, 3)
    second.train()
    one, two = straight.capture(), second.capture()
    for file in ("generator", "players", "game", "optimizers"):
        assert one[file].keys() == two[file].keys()
        for name in one[file]:
            assert torch.equal(one[file][name], two[file][name]), (file, name)


def test_timing_undoes_itself() -> None:
    trainer, twin = make(), make()
    assert trainer.time_rounds() > 0
    trainer.train()
    twin.train()
    assert all(torch.equal(a, b) for a, b in zip(trainer.ema.network.parameters(), twin.ema.network.parameters(), strict=True))


def test_timing_that_fails_undoes_itself_too() -> None:
    trainer, twin = make(), make()
    losses = trainer.game.losses

    def broken(phase: Phase, batch: Batch, nimg: int) -> Any:
        if phase.player == "G":
            raise RuntimeError("no such kernel")
        return losses(phase, batch, nimg)

    trainer.game.losses = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no such kernel"):
        trainer.time_rounds()
    assert not any(p.requires_grad for p in trainer.game.parameters())
    trainer.game.losses = losses  # type: ignore[method-assign]
    trainer.train()
    twin.train()
    assert all(torch.equal(a, b) for a, b in zip(trainer.ema.network.parameters(), twin.ema.network.parameters(), strict=True))


def test_what_is_not_finite_is_named_with_its_phase() -> None:
    trainer = make()
    trainer.game.poison = 8
    trainer.train()
    with pytest.raises(NonFiniteError, match=r"D/grad became NaN or infinite in phase D/main of round 2 \(0\.012 kimg\)"):
        trainer.fetch()


def test_stopping_ends_after_the_round() -> None:
    trainer = make()
    losses = trainer.game.losses

    def stop(phase: Phase, batch: Batch, nimg: int) -> Any:
        trainer.stopping = nimg >= 8
        return losses(phase, batch, nimg)

    trainer.game.losses = stop  # type: ignore[method-assign]
    assert trainer.train() == "stopped"
    assert trainer.nimg == 12
    assert played(trainer)[-1] == ("G/main", 2)


def test_another_games_checkpoint_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    make().save(run)
    other = make()
    other.game.players["G"] = nn.Linear(2, 1)
    with pytest.raises(RunError, match="another game"):
        other.resume(checkpoint.newest(run, print))


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_cuda_device_has_a_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device refuses one without."""
    for function, value in {"is_available": True, "device_count": 2, "current_device": 1}.items():
        monkeypatch.setattr(torch.cuda, function, lambda value=value: value)
    assert choose_device(name) == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cpu"):
        choose_device("cuda:99")


class TestCheckpoints:
    def saved(self, tmp_path: Path, *nimgs: int) -> Run:
        run, trainer = Run(tmp_path), make()
        for nimg in nimgs:
            trainer.nimg = nimg
            trainer.save(run)
        return run

    def test_names_and_contents(self, tmp_path: Path) -> None:
        run = self.saved(tmp_path, 4000, 4064)
        assert [p.name for p in run.checkpoints()] == ["000004.064", "000004"]
        files = {p.name for p in run.checkpoints()[0].iterdir()}
        assert files == {f"{n}.safetensors" for n in ("generator", "players", "game", "optimizers", "random")} | {"state.json"}

    @pytest.mark.parametrize("damage", ["cut", "flip", "missing", "state"])
    def test_a_damaged_one_is_named_and_the_one_before_used(self, tmp_path: Path, damage: str) -> None:
        run = self.saved(tmp_path, 4, 8)
        file = run.checkpoints()[0] / ("state.json" if damage == "state" else "players.safetensors")
        content = bytearray(file.read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 2] if damage in ("cut", "state") else content)
        if damage == "missing":
            file.unlink()
        said: list[str] = []
        found = checkpoint.newest(run, said.append)
        assert found is not None
        assert found.nimg == 4
        assert file.name in said[0]
        assert "000000.008" in said[0]

    def test_all_damaged(self, tmp_path: Path) -> None:
        run = self.saved(tmp_path, 4)
        (run.checkpoints()[0] / "state.json").unlink()
        with pytest.raises(RunError, match="no other is left"):
            checkpoint.newest(run, lambda words: None)

    def test_one_by_its_kimg(self, tmp_path: Path) -> None:
        run = self.saved(tmp_path, 4000, 8000)
        assert checkpoint.newest(run, print, "4").nimg == 4000
        with pytest.raises(UsageError, match="000004, 000008"):
            checkpoint.newest(run, print, "5")

    def test_pruning_keeps_the_newest_and_the_milestones(self, tmp_path: Path) -> None:
        run = self.saved(tmp_path, *range(1000, 11000, 1000))
        checkpoint.prune(run, keep=2, milestone=4)
        assert [p.name for p in run.checkpoints()] == ["000010", "000009", "000008", "000004"]
        checkpoint.prune(run, keep=1, milestone=None)
        assert [p.name for p in run.checkpoints()] == ["000010"]

    def test_what_a_crash_left_is_no_checkpoint(self, tmp_path: Path) -> None:
        run = self.saved(tmp_path, 4)
        (run.checkpoints_dir / ".000000.008.tmp").mkdir()
        assert [p.name for p in run.checkpoints()] == ["000000.004"]

    def test_tied_and_channels_last_tensors_are_written(self) -> None:
        weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
        plain = checkpoint.plain({"a": weight, "b": weight, "c": weight[:2]})
        assert all(torch.equal(plain[k], v) for k, v in {"a": weight, "b": weight, "c": weight[:2]}.items())
        assert all(t.is_contiguous() for t in plain.values())
        assert len({t.data_ptr() for t in plain.values()}) == 3
