"""From a plan to a trained run: data, game, trainer, run directory, signals, and everything that can go wrong on the way."""

from __future__ import annotations

import contextlib
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganzoo import provenance
from ganzoo.assembly import Plan, make_plan, plan_from_table
from ganzoo.config import Layer, RunConfig, dump_toml, layer_from_dict, read_config
from ganzoo.data.cache import Store, materialise
from ganzoo.data.hashing import digest_of_labels
from ganzoo.data.sampling import Sampler
from ganzoo.errors import GanzooError, UsageError
from ganzoo.fitting import coupled
from ganzoo.metrics.evaluation import Evaluation, Reals
from ganzoo.metrics.subjects import is_told
from ganzoo.registry import get_registry, one_line
from ganzoo.rehearsal import rehearse
from ganzoo.runs import Run, expanded, next_directory, quote
from ganzoo.training import accelerate, checkpoint, distributed, launched
from ganzoo.training.display import Display, Mute, Quiet, duration, stoppable
from ganzoo.training.distributed import Ranks
from ganzoo.training.evaluating import Evaluator, held_out
from ganzoo.training.preview import Preview
from ganzoo.training.trainer import Trainer, choose_device, choose_precision, is_out_of_memory
from ganzoo.training.writing import Observers, RunWriter, Writer

RUNS = Path("runs")
_PREVIEWED = 256  # records for the sheets, where samples start from data


@dataclass(slots=True)
class Session:
    """A training that is ready to start or to go on."""

    plan: Plan
    run: Run
    trainer: Trainer
    writer: Writer
    display: Display = field(default_factory=Quiet)

    def play(self) -> str:
        """Train to the end. Returns "done" or "stopped"; raises GanzooError where it fails, after telling the observers."""
        trainer = self.trainer
        try:
            with _short_of_memory(self.plan, trainer.device):
                trainer.ranks.align(trainer)
                if trainer.nimg < trainer.total:
                    self._prepare()
                    self.display.say(self._estimate())
                self.writer.start(trainer, self.run.config())
                # One rank may be told to stop while another failed: what is said of it is what all agreed on, at the end.
                say = self.display.say if trainer.ranks.world == 1 else Mute().say
                with stoppable(trainer, say), self.display.watch(trainer):
                    outcome = trainer.train()
                    trainer.ranks.wait()  # for what rank 0 writes at the end
                    return outcome
        except BaseException:
            self.writer.failed(trainer.nimg)
            raise
        finally:
            self.run.unlock()

    def _prepare(self) -> None:
        """Compile and record what is asked for, and say what stays as it is."""
        trainer = self.trainer
        if trainer.settings.compile:
            self.display.say("compiling the networks: this takes a minute or more")
            try:
                trainer.time_rounds()
            except Exception as err:
                if is_out_of_memory(err):
                    raise
                accelerate.stay_eager()
                trainer.time_rounds()  # or it was no matter of compiling
                self.display.say(f"the networks stay as they are: they cannot be compiled ({one_line(err)[:200]})")
        if trainer.settings.graphs and (reason := trainer.record()):
            self.display.say(f"not all steps are recorded as graphs: {reason}")

    def _estimate(self) -> str:
        trainer = self.trainer
        seconds = trainer.time_rounds()
        left = (trainer.total - trainer.nimg) / trainer.batch * seconds
        size = sum(t.numel() * t.element_size() for tensors in trainer.capture().values() for t in tensors.values())
        images = trainer.total - trainer.nimg
        return (
            f"about {trainer.batch / seconds:.0f} images/s on {_on(trainer)}, {duration(left)} for "
            f"{images / 1000:g} kimg; a checkpoint takes {size / 2**20:.1f} MiB, {trainer.settings.checkpoint.keep} are kept"
        )


def start(plan: Plan, out: Path | None, display: Display, init_from: str | None = None) -> Session:
    """Read the data, build the game, make the run directory. Raises UsageError before any data is read where it can be.

    Started again by torchrun with the same configuration and `out`, it goes on.
    """
    ranks = distributed.join()
    rehearse(plan)
    device = _device(plan, ranks)
    evaluation = evaluation_of(plan, device)
    _settle_precision(plan, device, ranks)
    if ranks.told(lambda: _goes_on(plan, out)):
        assert out is not None
        display.say(f"{out} holds this run already: it goes on")
        return resume(out, display)
    names = (plan.config.gen.name, plan.config.disc.name)
    ranks.told(lambda: Run.check_free(out or next_directory(RUNS, *names)))
    for notice in plan.notices:
        display.say(notice)
    game = plan.build(_initial(init_from if ranks.first else None, display))
    with torch.random.fork_rng(devices=[]):  # as after the building, whether images are decoded or come from the cache
        store = _read(plan, display, ranks)
    made: list[Run] = []

    def make() -> str:
        table = _table(plan, store)
        made.append(Run.create(out, table) if out else Run.create_next(RUNS, *names, table))
        return str(made[0].path)

    place = ranks.told(make)
    run = made[0] if made else Run(place)
    with _short_of_memory(plan, device):
        session = _session(plan, run, game, store, device, display, evaluation, ranks)
    if init_from is not None and ranks.first:
        session.trainer.save(run)  # or a crash before the first checkpoint would lose where it started
    return session


def resume(path: Path | str, display: Display, kimg: float | None = None, strict: bool = False) -> Session:
    """A stopped run, ready to go on; `kimg` is a new total budget.

    Says what is not installed as the run began with it; raises RunError instead where `strict`.
    """
    ranks = distributed.join()
    run = Run(path)

    def opened() -> dict[str, Any]:
        Run.open(path)
        run.lock()
        table = run.config()
        provenance.check(run.path, table, display.say, strict)
        return table if kimg is None else {**table, "kimg": kimg}

    try:
        table = ranks.told(opened)
        plan = plan_from_table(get_registry(), table, str(run.config_file))
        saved = checkpoint.newest(run, display.say) if ranks.first else None
        device = _device(plan, ranks)
        evaluation = evaluation_of(plan, device)
        store = _read(plan, display, ranks)
        if changed := [name for name, now in _identity(plan).items() if table["dataset"].get(name, now) != now]:
            display.say(f"the data of {plan.chosen['data']} have changed since the run began (another {changed[0]})")
        with _short_of_memory(plan, device):
            session = _session(plan, run, plan.build(), store, device, display, evaluation, ranks)
        if saved is not None:
            session.trainer.resume(saved)
            if saved.nimg >= session.trainer.total:
                more = f"ganzoo resume {quote(path)} --kimg {2 * saved.nimg / 1000:g}"
                display.say(f"{path} has its {plan.config.settings.kimg:g} kimg already; to go on: {more}")
        if ranks.first:
            checkpoint.set_aside(run, session.trainer.nimg)
            run.cut_log(session.trainer.nimg)
            session.writer.known(run.metrics())
            if kimg is not None:
                run.write_config(table)
    except BaseException:
        run.unlock()
        raise
    return session


def train(config: Any, out: Path | str | None = None, display: Display | None = None) -> Run:
    """Train from a RunConfig, a mapping of run.toml's keys, or the path of such a file, and return the run.

    What a mapping or file leaves out is resolved as on the command line. Raises GanzooError.
    """
    if isinstance(config, RunConfig):
        layer = layer_from_dict(config.to_dict(), "the configuration")
    elif isinstance(config, Mapping):
        layer = layer_from_dict(config, "the configuration")
    else:
        layer = read_config(Path(config))
    plan = make_plan(get_registry(), Layer("the command line"), layer)
    speaks = distributed.join().first
    session = start(plan, Path(out) if out is not None else None, display or (Quiet() if speaks else Mute()))
    session.play()
    return session.run


def _on(trainer: Trainer) -> str:
    """Where it trains, in words."""
    ranks, batch = trainer.ranks, trainer.batch
    return (
        str(trainer.device)
        if ranks.world == 1
        else f"{ranks.world} ranks of {ranks.share(batch)} images, {trainer.device.type}"
    )


@contextlib.contextmanager
def _short_of_memory(plan: Plan, device: torch.device) -> Iterator[None]:
    """Where memory ends, say what takes less of it."""
    try:
        yield
    except Exception as err:
        if not is_out_of_memory(err):
            raise
        settings = plan.config.settings
        size = min(settings.micro_batch or settings.batch, distributed.join().share(settings.batch))
        group = _group(plan)
        smaller = f"--micro-batch {size // 2 // group * group}, " if size // 2 >= group else ""
        raise GanzooError(
            f"out of memory on {device} with {size} samples a forward pass: try {smaller}a smaller --batch or --res, or "
            f"--precision bf16"
        ) from err


# ---- the steps of starting


def _device(plan: Plan, ranks: Ranks) -> torch.device:
    """This rank's device. Raises UsageError where there is none, or the ranks cannot share the batch equally."""
    settings = plan.config.settings
    device = choose_device(ranks.device(settings.device))
    if device.type == "cuda":
        torch.cuda.set_device(device)  # before ranks meet on it
    share, group = ranks.share(settings.batch), _group(plan)
    if share % group:
        step = group * ranks.world
        near = settings.batch // step * step
        raise UsageError(
            f"--batch {settings.batch} is {share} for each of {ranks.world} ranks, no multiple of the {group} "
            f"samples that parts take as a group: use {f'{near} or {near + step}' if near else step}"
        )
    return device


def _group(plan: Plan) -> int:
    """Samples that stay together."""
    return math.lcm(*(part.min_group() for part in plan.chosen.values()))


def _goes_on(plan: Plan, out: Path | None) -> bool:
    """Whether torchrun has started this very training before. Raises UsageError where `out` holds another."""
    if not launched():
        return False
    if out is None:
        if distributed.restarts():
            raise UsageError("torchrun --max-restarts needs --out DIR: where a run goes on that was started again")
        return False
    run = Run(out)
    if not run.config_file.is_file():
        return False
    was, now = run.config(), tomllib.loads(dump_toml(plan.config.to_dict()))
    if changed := [key for key in now if was.get(key) != now[key]]:
        raise UsageError(
            f"{out} holds a run with another {' and '.join(changed)}: choose another --out, or go on with it as it is: "
            f"ganzoo resume {quote(out)}"
        )
    return True


def _settle_precision(plan: Plan, device: torch.device, ranks: Ranks) -> None:
    """Write down what "auto" means here, so that a resumed run is the same computation."""
    settings = plan.config.settings
    if settings.precision == "auto":
        precision = ranks.told(lambda: choose_precision("auto", device))
        plan.origins["precision"] = f"auto, on {device}"
        plan.config = replace(plan.config, settings=replace(settings, precision=precision))


def _read(plan: Plan, display: Display, ranks: Ranks) -> Store:
    said = set(plan.notices)
    with ranks.in_turn(), display.progress("reading images") as progress:
        store = materialise(plan.dataset, progress=progress)
    for notice in store.notices:
        if notice not in said:
            display.say(notice)
    return store


def _class_counts(store: Store) -> list[int]:
    """Records of each class; empty without classes."""
    return [] if store.labels is None else np.bincount(store.labels, minlength=len(store.spec.classes)).tolist()


def _identity(plan: Plan) -> dict[str, str]:
    """What tells these data from others: of images, or of their labels."""
    return {"fingerprint": plan.dataset.fingerprint(), "labels": digest_of_labels(plan.dataset.labels)}


def _table(plan: Plan, store: Store) -> dict[str, Any]:
    """run.toml: the configuration, and records of what it was resolved with."""
    dataset = {
        "records": len(store),
        "skipped": len(store.skipped),
        **_identity(plan),
        "class_counts": _class_counts(store),
    }
    return {
        **plan.config.to_dict(),
        "components": plan.versions(),
        "files": provenance.record(plan.distributions()),
        "dataset": dataset,
        "spec": plan.data.to_dict(),
    }


def _initial(source: str | None, display: Display) -> Callable[[str, Any, str], None]:
    if source is None:
        return lambda role, network, name: None
    from ganzoo.training.initial import Initial

    return Initial(expanded(source), display.say)


def evaluation_of(plan: Plan, device: torch.device) -> Evaluation | None:
    """What is to be measured on the way, refused before any data is read."""
    settings = plan.config.settings.eval
    if not settings.metrics:
        return None
    name = str(plan.chosen["data"].name)
    evaluation = Evaluation(settings.metrics, Reals(plan.dataset, name, settings.reals), device)
    evaluation.check(plan.data, None, frozenset(), _is_told(plan))
    return evaluation


def _is_told(plan: Plan) -> bool:
    return is_told(plan.chosen["gen"].entry.component, plan.data)


def _session(
    plan: Plan,
    run: Run,
    game: Any,
    store: Store,
    device: torch.device,
    display: Display,
    evaluation: Evaluation | None,
    ranks: Ranks,
) -> Session:
    settings = plan.config.settings
    channels_last = accelerate.place(game, settings, device)
    normed = distributed.sync_batch_norm(game) if settings.sync_bn and ranks.world > 1 else 0
    share = ranks.share(settings.batch)
    pass_ = min(settings.micro_batch or share, share)
    if pass_ < settings.batch and (parts := coupled(plan.chosen)):
        piece = f"micro-batch of {pass_}" if pass_ < share else f"rank's {pass_} images"
        means = f", but for means over all ranks{', batch norm among them' if normed else ''}" if ranks.world > 1 else ""
        display.say(f"computed per {piece}, not per batch{means}: {'; '.join(parts)}")
    if ranks.world > 1 and distributed.has_unsynced(game):
        some, mend = ("some batch norm", "") if settings.sync_bn else ("batch norm", ": --sync-bn shares them")
        display.say(f"{some} sees a rank's images alone, and rank 0's running statistics are saved{mend}")
    rows = held = None
    if evaluation is not None:
        rows, held = held_out(len(store), settings.eval.hold_out, settings.seed)
        if ranks.first:
            evaluation.reals.give(store, rows)
        if len(held):
            display.say(f"{len(held)} of {len(store)} records are not trained on, but shown to D now and then (eval.hold_out)")
    sampler = Sampler(
        store,
        batch=settings.batch,
        seed=settings.seed,
        rank=ranks.rank,
        world=ranks.world,
        device=device,
        flip=settings.flip,
        in_memory=settings.in_memory,
        channels_last=channels_last,
        rows=rows,
    )
    if not ranks.first:
        writer = Writer(settings)
        return Session(plan, run, Trainer(game, sampler, settings, device, writer, ranks), writer, display)
    evaluator = None
    if evaluation is not None and rows is not None and held is not None:
        which = settings.eval.samples, settings.seed, _group(plan), _is_told(plan)
        evaluator = Evaluator(evaluation, sampler, rows, held, device, *which)
    records = sampler.records(_PREVIEWED) if plan.data.of_records else None
    preview = Preview(game, device, settings.seed, _class_counts(store), records)
    draw = partial(plan.dataset.draw, real=np.array(store.fields["real"][:4096]))
    observers = Observers([("display", display), *get_registry().observers()], display.say)
    writer = RunWriter(run, settings, preview, draw, observers, display.say, evaluator)
    try:
        trainer = Trainer(game, sampler, settings, device, writer, ranks)
    except BaseException:
        run.unlock()
        raise
    return Session(plan, run, trainer, writer, display)
