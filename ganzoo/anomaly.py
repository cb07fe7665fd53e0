"""f-AnoGAN (Schlegl et al. 2019, doi:10.1016/j.media.2019.01.010): how far an image is from all that a generator makes.

An encoder E learns to find the noise from which the frozen generator G makes an image again (the paper's izi_f training):

    a(x) = ||x - G(E(x))||^2 / n + k ||h(x) - h(G(E(x)))||^2 / n_h

with h the deepest features of the frozen discriminator. E minimises a(x) over the training data, and a(x) is the score: G has
only seen what is normal, and makes nothing else.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo import loading, provenance
from ganzoo.assembly import Plan, plan_from_table
from ganzoo.config import PlayerConfig
from ganzoo.data.cache import Store, materialise
from ganzoo.data.inputs import data_like, data_table
from ganzoo.data.sampling import Sampler
from ganzoo.errors import DataError, NonFiniteError, RunError, UsageError
from ganzoo.interfaces import Measured, Phase
from ganzoo.inversion import Encoder, Frozen, Scores, check, compare
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.runs import Run, quote, stamp
from ganzoo.training import checkpoint
from ganzoo.training.display import Display, Quiet, stoppable
from ganzoo.training.optimizers import PlayerOptimizer
from ganzoo.training.trainer import choose_device, is_out_of_memory
from ganzoo.training.writing import Observers

_QUIET = Quiet()
_BATCH = 64  # images scored at once
_KEPT = 2  # states of a fit
_TICKS = 50  # of a fit: each shows a line and saves the state


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an encoder is fitted; all but kimg stays as it began.

    kimg   budget, thousands of images seen
    lr     of Adam
    k      weight of the discriminator's features
    batch  images a step
    seed   of weights and order
    data   table of a data set (name and options); None: the run's own
    """

    kimg: float = 100.0
    lr: float = 5e-4
    k: float = 1.0
    batch: int = 64
    seed: int = 0
    data: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, value in (("kimg", self.kimg), ("lr", self.lr), ("batch", self.batch)):
            if not 0 < value < math.inf:
                raise UsageError(f"--{name} {value:g}: it must be greater than 0")
        if not 0 <= self.k < math.inf:
            raise UsageError(f"--k {self.k:g}: it must be at least 0")


class Place(Run):
    """RUN/anomaly: the states of a fit as checkpoints, and in networks/ the run's checkpoint that it belongs to."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.path / "anomaly")
        self.run = run

    @property
    def resume_command(self) -> str:
        return f"ganzoo anomaly fit {quote(self.run.path)}"

    @property
    def restart_command(self) -> str:
        return f"{self.resume_command} --restart"

    @property
    def networks_dir(self) -> Path:
        return self.path / "networks"

    def networks(self) -> checkpoint.Checkpoint:
        """The run's checkpoint that the fit belongs to."""
        try:
            return checkpoint.Checkpoint(self.networks_dir)
        except RunError as err:
            raise RunError(f"{err}; to begin anew: {self.restart_command}") from None

    def clear(self) -> None:
        for path in (self.checkpoints_dir, self.networks_dir):
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, saved: checkpoint.Checkpoint) -> None:
        """Keep the run's checkpoint here: the run may be trained on, and delete it. Links where they can be, so no space."""
        beside = self.path / ".networks.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        try:
            shutil.copytree(saved.path, beside, copy_function=_link)
            beside.rename(self.networks_dir)
        except OSError as err:
            shutil.rmtree(beside, ignore_errors=True)
            raise RunError(f"{self.networks_dir} could not be written: {err.strerror or err}; free some space") from None


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class Fit:
    """An encoder's training: everything that changes its next step, and the loop."""

    def __init__(self, frozen: Frozen, store: Store, settings: Settings, flip: bool) -> None:
        self.frozen, self.settings, self.batch = frozen, settings, settings.batch
        classes = class_table(store.spec, frozen.data)
        self.classes = None if classes is None else classes.to(frozen.device)
        self.mean = mean_image(store, flip)
        torch.manual_seed(settings.seed)
        self.encoder = Encoder(frozen.data, frozen.z_dim, frozen.prior).to(frozen.device)
        config = PlayerConfig(optimizer="adam", lr=settings.lr)
        self.optimizer = PlayerOptimizer("E", self.encoder, config, [Phase("E/main", "E")], settings.kimg)
        self.sampler = Sampler(store, batch=self.batch, seed=settings.seed, device=frozen.device, flip=flip)
        self.nimg, self.total, self.stopping = 0, round(settings.kimg * 1000), False
        self._sum, self._count = torch.zeros((), device=frozen.device), 0

    def train(self, tick: Callable[[], None]) -> str:
        """Fit until the budget is spent or `stopping` is set; `tick` is called now and then, and at the end."""
        self.encoder.train()
        interval = max(self.total / _TICKS, 16 * self.batch)
        while self.nimg < self.total and not self.stopping:
            self._step()
            self.nimg += self.batch
            if self.nimg // interval > (self.nimg - self.batch) // interval or self.nimg >= self.total or self.stopping:
                tick()
        return "done" if self.nimg >= self.total else "stopped"

    def _step(self) -> None:
        batch = self.sampler.draw()
        labels = None if self.classes is None else self.classes[batch["labels"]]
        self.optimizer.begin(self.nimg / 1000)
        images = batch["real"]
        loss = compare(self.frozen, self.encoder(images), images, labels, self.settings.k).score.mean()
        loss.backward()
        self.optimizer.step()
        self._sum, self._count = self._sum + loss.detach(), self._count + 1

    def fetch(self) -> float:
        """The mean loss since the last call. Raises NonFiniteError."""
        loss = float(self._sum) / max(1, self._count)
        self._sum, self._count = torch.zeros_like(self._sum), 0
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"the encoder's loss became NaN or infinite before {self.nimg / 1000:g} kimg; the state before it stays. "
                f"A lower --lr may mend it, with --restart"
            )
        return loss

    def save(self, place: Place) -> None:
        state: checkpoint.State = {
            "encoder": self.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": checkpoint.capture_random(),
            "mean": {"mean": self.mean},
        }
        checkpoint.save(place, self.nimg, state, {"settings": asdict(self.settings), "sampler": self.sampler.state_dict()})
        checkpoint.prune(place, _KEPT, None)

    def resume(self, saved: checkpoint.Checkpoint) -> None:
        self.encoder.load_state_dict(saved.tensors("encoder"))
        self.optimizer.load_state_dict(saved.tensors("optimizer"))
        checkpoint.restore_random(saved.tensors("random"))
        self.nimg = saved.nimg
        self.sampler.load_state_dict(saved.table["sampler"])


def class_table(data: DataSpec, wanted: DataSpec) -> Tensor | None:
    """For each class of the data its index among those of the run, int64; None where the run has none. Raises UsageError."""
    if not wanted.classes:
        return None
    if not data.classes:
        raise UsageError(f"this generator makes images of {len(wanted.classes)} classes: the data must say which each is")
    if unknown := [name for name in data.classes if name not in wanted.classes]:
        raise UsageError(f"the data have a class '{unknown[0]}', which the run has not: {', '.join(wanted.classes)[:200]}")
    return torch.tensor([wanted.classes.index(name) for name in data.classes])


def mean_image(store: Store, flip: bool) -> Tensor:
    """[C, H, W] in [-1, 1], float32: the mean of all records, and of their mirror images where `flip` is set."""
    real = store.fields["real"]
    total = np.zeros(real.shape[1:], np.float64)
    for begin in range(0, len(real), 1024):
        total += real[begin : begin + 1024].sum(0, dtype=np.float64)
    mean = torch.from_numpy(total / len(real) / 127.5 - 1).float()
    return (mean + mean.flip(-1)) / 2 if flip else mean


# ---- a fit that begins or goes on


class Session:
    """A fit that is ready to start or to go on; it holds RUN/anomaly until it has played. `checkpoint`: the run's, by name."""

    def __init__(self, run: Run, place: Place, fit: Fit, display: Display) -> None:
        self.run, self.place, self.fit, self.display = run, place, fit, display
        self.checkpoint = stamp(place.networks().nimg)
        self._observers = Observers([("display", display)], display.say)

    def play(self) -> str:
        """Fit to the end. Returns "done" or "stopped"; raises GanzooError where it fails."""
        self._since, self._at = time.perf_counter(), self.fit.nimg
        try:
            with stoppable(self.fit, self.display.say), self.display.watch(self.fit):
                return self.fit.train(self._tick)
        except Exception as err:
            if not is_out_of_memory(err):
                raise
            raise RunError(
                f"out of memory on {self.fit.frozen.device}: begin anew with less than --batch {self.fit.batch}: "
                f"{self.place.restart_command}"
            ) from err
        finally:
            self.place.unlock()

    def _tick(self) -> None:
        loss, now = self.fit.fetch(), time.perf_counter()
        self.fit.save(self.place)
        nimg = self.fit.nimg
        speed = (nimg - self._at) / max(now - self._since, 1e-9)
        stats = {"kimg": nimg / 1000, "nimg": nimg, "images_per_second": speed, "loss": loss}
        self._observers.tell("ganzoo_run_tick", run=self.run.path, nimg=nimg, stats=stats)
        self._since, self._at = now, nimg


def begin(
    path: Path | str,
    given: Mapping[str, Any] | None = None,
    *,
    device: str = "auto",
    display: Display | None = None,
    restart: bool = False,
) -> Session:
    """The fit of a run: its last state where there is one, unless `restart`; else a new one, of the run's newest checkpoint.

    given  of Settings, by name, data as on the command line; where a fit goes on only kimg may be another
    The run may be in training: what the fit needs of its checkpoint is kept. Raises GanzooError; nothing is lost then.
    """
    display = display or _QUIET
    run = Run.open(path)
    place, target = Place(run), choose_device(device)
    plan = loading.plan_of(run)
    check(run, plan)
    provenance.check(run.path, run.config(), display.say)
    try:
        place.path.mkdir(exist_ok=True)
    except OSError as err:
        raise RunError(f"{place.path} could not be made: {err.strerror}") from None
    place.lock()
    try:
        saved = None if restart else checkpoint.newest(place, display.say)
        settings = _settings(given or {}, saved, place)
        networks = _newest(run, display.say) if saved is None else place.networks()
        frozen = Frozen(run, networks, target)
        dataset = _dataset(run, plan, settings.data, frozen.data)
        class_table(dataset.spec, frozen.data)
        with display.progress("reading images") as progress:
            store = materialise(dataset, progress=progress)
        for notice in store.notices:
            display.say(notice)
        fit = Fit(frozen, store, settings, plan.config.settings.flip)
        if saved is None:
            place.clear()
            place.keep(networks)
        else:
            fit.resume(saved)
            checkpoint.set_aside(place, fit.nimg)
    except BaseException:
        place.unlock()
        raise
    return Session(run, place, fit, display)


def fit(path: Path | str, display: Display | None = None, restart: bool = False, **given: Any) -> None:
    """Fit an encoder to a run, or go on with one: `ganzoo.anomaly.fit(run, kimg=100)`. Raises GanzooError."""
    begin(path, given, display=display, restart=restart).play()


def _newest(run: Run, say: Callable[[str], None]) -> checkpoint.Checkpoint:
    saved = checkpoint.newest(run, say)
    if saved is None:
        raise RunError(f"{run.path} has no checkpoint yet: train it first")
    return saved


def _settings(given: Mapping[str, Any], saved: checkpoint.Checkpoint | None, place: Place) -> Settings:
    said = {name: data_table(value) if name == "data" else value for name, value in given.items() if value is not None}
    if saved is None:
        return Settings(**said)
    before = Settings(**saved.table["settings"])
    for name, value in said.items():
        if name != "kimg" and value != (was := getattr(before, name)):
            shown = "other data" if name == "data" else f"{name} {was}"
            raise UsageError(
                f"this fit began with {shown}: leave --{name} out to go on, or begin anew: {place.restart_command}"
            )
    return replace(before, kimg=said.get("kimg", before.kimg))


def aspect(plan: Plan) -> Any:
    """How the run's data made another aspect fit (cover, contain, stretch): so are other images made to fit."""
    return plan.config.data.options.get("fit", "cover")


def _dataset(run: Run, plan: Plan, table: Mapping[str, Any] | None, like: DataSpec) -> Any:
    if table is not None:
        return data_like(table, like, aspect(plan))
    try:
        return plan_from_table(get_registry(), run.config(), str(run.config_file)).dataset
    except (UsageError, DataError) as err:
        raise DataError(f"the data of {run.path} cannot be opened: {err}. Others may be given with --data") from None


# ---- scoring


class Detector:
    """A run's fitted encoder with the networks that it belongs to; called with images it scores them.

    `kimg` of `budget` it was fitted for. Raises UsageError where the run has no fit, RunError where it is damaged.
    """

    def __init__(self, path: Path | str, device: str | torch.device = "cpu", say: Callable[[str], None] = _QUIET.say) -> None:
        run = Run.open(path)
        place = Place(run)
        plan = loading.plan_of(run)
        check(run, plan)
        saved = checkpoint.newest(place, say)
        if saved is None:
            raise UsageError(f"{run.path} has no encoder yet: {place.resume_command}")
        provenance.check(run.path, run.config(), say)
        self.device = torch.device(device)
        self.settings = Settings(**saved.table["settings"])
        self.kimg, self.budget = saved.nimg / 1000, self.settings.kimg
        networks = place.networks()
        self.checkpoint = stamp(networks.nimg)
        self.frozen = Frozen(run, networks, self.device)
        self.data, self.aspect = self.frozen.data, aspect(plan)
        self.encoder = Encoder(self.data, self.frozen.z_dim, self.frozen.prior).to(self.device)
        self.encoder.load_state_dict(saved.tensors("encoder"))
        self.encoder.requires_grad_(False).eval()
        self.mean = saved.tensors("mean")["mean"]  # [C, H, W] of the training images

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Scores:
        """Scores, on the CPU, of images [N, C, H, W] in [-1, 1]; where G has classes, as the class of the least score."""
        found = [self._scored(images[begin : begin + _BATCH].to(self.device)) for begin in range(0, len(images), _BATCH)]
        columns = zip(*(part.fields() for part in found), strict=True)
        return Scores(*(None if column[0] is None else torch.cat(column).cpu() for column in columns))

    def baseline(self, images: Tensor) -> Tensor:
        """[N]: mean square of the difference to the mean training image: what a score must beat to be worth anything."""
        return (images.cpu() - self.mean).square().flatten(1).mean(1)

    def _scored(self, images: Tensor) -> Scores:
        z, classes = self.encoder(images), len(self.data.classes)
        labels = [torch.full((len(images),), i, device=self.device) for i in range(classes)] or [None]
        best = compare(self.frozen, z, images, labels[0], self.settings.k)
        for label in labels[1:]:
            found = compare(self.frozen, z, images, label, self.settings.k)
            better = found.score < best.score
            pairs = zip(found.fields(), best.fields(), strict=True)
            best = Scores(*(torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs))
        return best


def heat_map(images: Tensor, made: Tensor) -> Tensor:
    """|x - G(E(x))|, the mean over channels: [N, H, W] in [0, 2]."""
    return (images - made).abs().mean(1)


def auroc(scores: Sequence[float], anomalous: Sequence[bool]) -> Measured:
    """The chance that an anomaly scores above a normal image, ties counting half, with the standard error of Hanley and McNeil.

    doi:10.1148/radiology.143.1.7063747. Raises ValueError unless there are both.
    """
    values, odd = np.asarray(scores, np.float64), np.asarray(anomalous, bool)
    n, m = int(odd.sum()), int((~odd).sum())
    if not n or not m:
        raise ValueError(f"{n} anomalous and {m} normal images: both are needed")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # of a tie, the mean
    a = float(ranks[odd].sum() - n * (n + 1) / 2) / (n * m)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)
    return Measured(a, math.sqrt(max(variance, 0.0)))
