"""The training loop: a float phase, then the quantised one, by the same steps.

A run is deterministic on a CPU: what a batch holds depends on seed, epoch and number alone
(:mod:`falconet_models.datasets.loader`), and a checkpoint has all the rest, so that a run that was
killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from falconet.isa import FalconetError
from falconet_models.datasets import Dataset, Found
from falconet_models.datasets.loader import Batch, loader
from falconet_models.judge.average_precision import mean_ap
from falconet_models.networks.brevitas import quantise
from falconet_models.networks.detector import Detector
from falconet_models.networks.layers import laid_out
from falconet_models.networks.pretrained import load_imagenet
from falconet_models.train import checkpoints
from falconet_models.train.criterion import Criterion, shared
from falconet_models.train.diary import Diary, read_history
from falconet_models.train.distil import Student, Teacher
from falconet_models.train.predict import normalise, predict
from falconet_models.train.recipe import Distil, Recipe

__all__ = ["Trainer", "average", "together"]

RECIPE = "recipe.yaml"
_SAVE_SECONDS = 120.0
_PHASES = ("float", "quantised")


@contextmanager
def together() -> Iterator[tuple[int, int]]:
    """Rank and number of the processes that ``torchrun`` started: 0 and 1 without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()


def average(decay: float) -> Any:
    """The rule of an exponential moving average that begins with a short memory."""

    def update(kept: list[Tensor], fresh: list[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(kept, fresh):
            if old.is_floating_point():
                old.lerp_(new.to(old.dtype), share)
            else:
                old.copy_(new)

    return update


def _groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions decay; biases, norms and scales do not."""
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for p in module.parameters():
        parts[p.ndim < 2].append(p)
    return [{"params": parts[0], "weight_decay": decay}, {"params": parts[1], "weight_decay": 0.0}]


@dataclass
class _Phase:
    """What a phase has besides its networks; all of it is in a checkpoint."""

    name: str
    epochs: int
    rate: float
    epoch: int = 0
    done: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = -1
    ended: bool = False


class Trainer:
    """One run in ``folder``.

    Parameters
    ----------
    train, val:
        Data sets; the second one judges every epoch.
    folder:
        What is there of the same recipe is gone on with.
    rank, world:
        See :func:`together`.

    Raises
    ------
    FalconetError
        if the folder has a run of another recipe.
    """

    def __init__(self, recipe: Recipe, train: Dataset, val: Dataset, folder: Path, *,
                 rank: int = 0, world: int = 1) -> None:
        if len(val) == 0 or len(train) == 0:
            raise FalconetError("the data set has no images to train or to judge on; add some")
        self.recipe, self.val, self.folder = recipe, val, folder
        self.rank, self.world = rank, world
        self.device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.config = recipe.config(tuple(train.labels))
        c, largest = self.config, max(self.config.levels[-1], self.config.features[-1])
        options: dict[str, Any] = {
            "seed": recipe.seed, "workers": recipe.workers, "rank": rank, "world": world,
            "pad": c.pad}
        self.batches = loader(train, c.size, recipe.batch, augment=recipe.augment, shuffle=True,
                              scales=recipe.scales, stride=largest, **options)
        self.plain = loader(train, c.size, min(32, recipe.batch), seed=recipe.seed, pad=c.pad)
        self.judged = loader(val, c.size, recipe.batch, **options)
        self.counts = torch.zeros(len(train.labels), dtype=torch.int64)
        for i in range(len(train)):
            s = train.load(i)
            self.counts += torch.bincount(torch.from_numpy(s.classes[~s.ignored]),
                                          minlength=len(self.counts))
        if not self.counts.sum():
            raise FalconetError("no image of the training split has an object; there is nothing "
                                "to learn")
        self._stop = False
        self.state = self._opened()
        self.diary = Diary(folder if rank == 0 else None,
                           self.state["rows"] if self.state else [])
        self._saved = time.monotonic()

    def _opened(self) -> dict[str, Any] | None:
        """The state of the run that is in the folder, if any."""
        last = self.folder / checkpoints.LAST
        if last.is_file():
            state = checkpoints.load(last)
            if state["recipe"] != self.recipe.to_dict() or state["labels"] != list(
                    self.config.labels):
                raise FalconetError(
                    f"{self.folder}: a run of another recipe or other classes is there; choose "
                    "another --out, or --fresh to overwrite it")
            return state
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.recipe.save(self.folder / RECIPE)
        return None

    # -- the run

    def run(self) -> dict[str, Any]:
        """Train to the end; best mAP by phase, and the seconds of it."""
        handlers = {s: signal.signal(s, self._asked) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            for i, name in enumerate(_PHASES):
                if self.state and _PHASES.index(self.state["phase"]["name"]) > i:
                    continue
                self._run_phase(name)
        finally:
            for s, h in handlers.items():
                signal.signal(s, h)
            self.diary.close()
        rows = read_history(self.folder)
        return {
            "folder": str(self.folder),
            **{name: _best(rows, name) for name in _PHASES},
            "seconds": sum(r["seconds"] for r in rows),
        }

    def _asked(self, *_: Any) -> None:
        if self._stop:  # the second time: at once
            raise KeyboardInterrupt
        self._stop = True
        self.diary.say("stopping after this batch; the same command goes on from there")

    def _begin(self, name: str) -> tuple[_Phase, Detector]:
        """A phase from its start, or from the checkpoint's place in it."""
        recipe = self.recipe
        if name == "float":
            phase = _Phase(name, recipe.epochs, recipe.rate)
            torch.manual_seed(recipe.seed)
            detector = Detector(self.config)
            if self.state is None:
                self._start(detector)
        else:
            phase = _Phase(name, recipe.quantise.epochs, recipe.quantise.rate)
            source, _ = checkpoints.load_detector(self.folder)
            self.diary.say(f"calibrating on {min(recipe.quantise.images, self.plain.images)} "
                           "images")
            detector = quantise(source, self._calibration())
        detector = laid_out(detector.to(self.device), torch.channels_last)
        if self.state:
            phase = _Phase(**self.state["phase"])
        return phase, detector

    def _start(self, detector: Detector) -> None:
        """Weights to begin with."""
        start = self.recipe.start
        if start == "imagenet":
            load_imagenet(detector)
        elif start:
            given = checkpoints.load_detector(start)[0].state_dict()
            own = detector.state_dict()
            fits = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
            if not fits:
                raise FalconetError(f"start: nothing in {start} fits this network; choose another")
            detector.load_state_dict(fits, strict=False)
            self.diary.say(f"{len(fits)} of {len(own)} tensors from {start}")

    def _calibration(self) -> list[Tensor]:
        """Training images as they come at inference."""
        found, left = [], self.recipe.quantise.images
        for batch in self.plain:
            found.append(normalise(batch.images[:left], self.config))
            left -= len(found[-1])
            if left <= 0:
                break
        return found

    def _run_phase(self, name: str) -> None:
        phase, detector = self._begin(name)
        recipe = self.recipe
        wishes = recipe.distil
        if name == "quantised" and recipe.quantise.teach and not wishes.teacher:
            wishes = Distil(teacher=str(self.folder), soft=recipe.quantise.teach)
        teacher = Teacher(wishes, detector) if wishes.teacher else None
        student = laid_out(Student(detector, teacher).to(self.device), torch.channels_last)
        self.batches.start(0)
        steps = len(self.batches)
        criterion = Criterion(recipe, self.config.objectness, self.counts, steps).to(self.device)
        ema = AveragedModel(detector, multi_avg_fn=average(recipe.ema), use_buffers=True)
        resumed = self.state if self.state and self.state["phase"]["name"] == name else None
        if resumed:  # before the optimiser is made: Brevitas makes its scales anew
            for part, what in (("student", student), ("ema", ema), ("criterion", criterion)):
                what.load_state_dict(resumed[part])
        groups = _groups(student, recipe.decay)
        optimiser: torch.optim.Optimizer = (
            torch.optim.AdamW(groups, lr=phase.rate) if recipe.optimiser == "adamw" else
            torch.optim.SGD(groups, lr=phase.rate, momentum=0.9, nesterov=True))
        if resumed:
            optimiser.load_state_dict(resumed["optimiser"])
            torch.set_rng_state(resumed["rng"])
        self.state = None
        model: nn.Module = student
        if self.world > 1:
            if self.device.type == "cuda":
                untyped: Any = nn.SyncBatchNorm
                student = untyped.convert_sync_batchnorm(student)
            model = DistributedDataParallel(student, find_unused_parameters=False)
        keep = _Keep(self, phase, student, ema, criterion, optimiser)
        fresh = phase.epoch == phase.done == 0 and not phase.ended
        if fresh and (phase.name == "quantised" or not phase.epochs):
            self._judge(phase, ema.module, {}, -1)  # as it starts: calibrated only
        with self.diary.bar as bar:
            while phase.epoch < phase.epochs and not phase.ended:
                self._epoch(phase, model, student, ema, criterion, optimiser, teacher, steps, keep,
                            bar)
        phase.ended = True
        keep.save()
        start = next((r for r in self.diary.rows if _is_start(r)), None)
        if name == "quantised" and phase.epochs and start and phase.best < _score(start):
            self.diary.say(
                f"quantised training ends below its start, {start['map50']:.4f} and "
                f"{start['map50_95']:.4f}: {checkpoints.CALIBRATED} has that; or lower "
                "'quantise.rate'")
        if self.world > 1:
            dist.barrier()  # the next phase reads what the first process wrote

    def _epoch(self, phase: _Phase, model: nn.Module, student: Student, ema: AveragedModel,
               criterion: Criterion, optimiser: torch.optim.Optimizer, teacher: Teacher | None,
               steps: int, keep: _Keep, bar: Any) -> None:
        recipe, began = self.recipe, time.perf_counter()
        self.batches.start(phase.epoch, phase.done)
        model.train()
        criterion.train()
        task = bar.add_task(f"{phase.name} {phase.epoch + 1}/{phase.epochs}", total=steps,
                            completed=phase.done, said="")
        for batch in self.batches:
            for group in optimiser.param_groups:
                group["lr"] = self._rate(phase, steps)
            terms = self._step(batch.to(self.device), model, student, criterion, optimiser,
                               teacher)
            ema.update_parameters(student.detector)
            for key, value in terms.items():
                phase.sums[key] = phase.sums.get(key, 0.0) + value
            phase.done += 1
            bar.update(task, advance=1, said=f"loss {terms['loss']:.3f}")
            if self._stop or time.monotonic() - self._saved > _SAVE_SECONDS:
                phase.seconds += time.perf_counter() - began
                began = time.perf_counter()
                keep.save()
            if self._stop:
                raise KeyboardInterrupt
        bar.remove_task(task)
        count = phase.done
        means = {k: float(shared(torch.tensor(v / count))) for k, v in phase.sums.items()}
        epoch, phase.epoch, phase.done, phase.sums = phase.epoch, phase.epoch + 1, 0, {}
        # the last batch's, which a process before this one may have seen
        row = {"lr": optimiser.param_groups[0]["lr"], **means}
        last = phase.epoch == phase.epochs
        if last or phase.name == "quantised" or phase.epoch % recipe.judge_every == 0:
            self._judge(phase, ema.module, row, epoch, began)
        else:
            self._note(phase, row, epoch, began)
        if recipe.patience and epoch - phase.best_epoch >= recipe.patience:
            self.diary.say(f"no better for {recipe.patience} epochs: the {phase.name} phase ends")
            phase.ended = True
        keep.save()
        if self._stop:  # asked while it was judged
            raise KeyboardInterrupt

    def _rate(self, phase: _Phase, steps: int) -> float:
        """Warm-up, then half a cosine to ``final`` (Loshchilov and Hutter, 2017)."""
        recipe = self.recipe
        at = phase.epoch + phase.done / steps
        warm = recipe.warmup if phase.name == "float" else min(1.0, recipe.warmup)
        warm = min(warm, phase.epochs / 4)
        if at < warm:
            return phase.rate * (at + 1 / steps) / (warm + 1 / steps)
        share = (at - warm) / max(1e-9, phase.epochs - warm)
        high = (1 + math.cos(math.pi * share)) / 2
        return phase.rate * (recipe.final + (1 - recipe.final) * high)

    def _step(self, batch: Batch, model: nn.Module, student: Student, criterion: Criterion,
              optimiser: torch.optim.Optimizer, teacher: Teacher | None) -> dict[str, float]:
        seen = teacher.see(batch.images) if teacher else None
        maps, adapted = model(normalise(batch.images, self.config), seen[1] if seen else [])
        terms = criterion(student.detector, maps, batch)
        if teacher is not None and seen is not None:
            terms |= teacher.terms(student, maps, adapted, seen, batch)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            broken = ", ".join(k for k, v in terms.items() if not torch.isfinite(v))
            raise FalconetError(f"the loss is {loss.item()} ({broken}); lower 'rate' or 'clip'")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(model.parameters(), self.recipe.clip)
        optimiser.step()
        return {"loss": loss.item(), **{k: v.item() for k, v in terms.items()}}

    # -- judging

    def _judge(self, phase: _Phase, detector: nn.Module, row: dict[str, Any], epoch: int,
               began: float | None = None) -> None:
        began = time.perf_counter() if began is None else began
        assert isinstance(detector, Detector)
        self.judged.start(0)
        found = dict(predict(detector, self.judged))
        if self.world > 1:
            parts: list[Any] = [None] * self.world
            dist.all_gather_object(parts, found)
            found = {k: v for part in parts for k, v in part.items()}
        ordered: list[Found] = [found[i] for i in range(len(self.val))]
        map50, map50_95 = mean_ap(self.val, ordered)
        row = {**row, "map50": map50, "map50_95": map50_95}
        if not np.isfinite(map50):
            raise FalconetError("no image of the validation split has an object; nothing can be "
                                "judged on it")
        file = checkpoints.BEST[phase.name]
        if phase.name == "quantised" and epoch < 0 and phase.epochs:
            file = checkpoints.CALIBRATED
        elif _score(row) > phase.best:
            phase.best, phase.best_epoch = _score(row), epoch
        else:
            file = ""
        if file and self.rank == 0:
            checkpoints.save_detector(self.folder / file, detector,
                                      {"epoch": epoch, "map50": map50, "map50_95": map50_95})
        self._note(phase, row, epoch, began)

    def _note(self, phase: _Phase, row: dict[str, Any], epoch: int, began: float) -> None:
        seconds = phase.seconds + time.perf_counter() - began
        phase.seconds = 0.0
        self.diary.add({"epoch": epoch, "phase": phase.name, "seconds": seconds, **row},
                       phase.epochs)


def _score(row: dict[str, Any]) -> float:
    return float(row["map50"] + row["map50_95"])


def _is_start(row: dict[str, Any]) -> bool:
    """Whether this is the network that quantised training begins with."""
    return bool(row["phase"] == "quantised" and row["epoch"] < 0)


def _best(rows: list[dict[str, Any]], phase: str) -> dict[str, Any] | None:
    """The row of the network that was kept of a phase."""
    own = [r for r in rows if r["phase"] == phase and "map50" in r]
    return max([r for r in own if not _is_start(r)] or own, key=_score, default=None)


@dataclass
class _Keep:
    """All that is saved of a phase under way."""

    trainer: Trainer
    phase: _Phase
    student: nn.Module
    ema: nn.Module
    criterion: nn.Module
    optimiser: torch.optim.Optimizer

    def save(self) -> None:
        t = self.trainer
        t._saved = time.monotonic()
        if t.rank:
            return
        checkpoints.save(t.folder / checkpoints.LAST, {
            "recipe": t.recipe.to_dict(), "labels": list(t.config.labels),
            "phase": dict(vars(self.phase)), "rows": t.diary.rows, "rng": torch.get_rng_state(),
            **{k: getattr(self, k).state_dict()
               for k in ("student", "ema", "criterion", "optimiser")},
        })
