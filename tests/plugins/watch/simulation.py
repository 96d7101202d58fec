"""A simulated run that calls the events of callbacks one by one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pluggy
import torch
from torch import Tensor, nn

import seqx
from seqx.data.loader import Position
from seqx.data.ragged import Ragged
from seqx.data.store import Store
from seqx.plugin.hooks import events
from seqx.training.config import Training


class Placeholder(seqx.Objective, seqx.Optimizer, seqx.Schedule):
    """A placeholder for an objective, an optimizer or a schedule."""

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        raise NotImplementedError

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        raise NotImplementedError

    def __call__(self, step: int, steps: int) -> float:
        raise NotImplementedError


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(folder: Path, *, steps: int = 300, done: int = 0, best: tuple[float, int] | None = None) -> seqx.Run:
    placeholder = Placeholder()
    column = Ragged.of(np.arange(60_000, dtype=np.uint16), np.full(1500, 40))
    store = Store(
        folder=folder,
        columns={"source": column, "target": column},
        texts={},
        dropped={"duplicate": 12, "empty": 1},
        leaks={"dev": {"rows": 2, "sides": [3, 5]}, "test": {"rows": 0, "sides": [0, 0]}},
        rows=1513,
        identity="0",
        size=1500,
    )
    return seqx.Run(
        name="wmt",
        folder=folder,
        training=Training(steps=steps, objective=placeholder, optimizer=placeholder, schedule=placeholder),
        done=done,
        parameters=61_362_176,
        device="cpu",
        precision="fp32",
        store=store,
        updates=25,
        best=best[0] if best else None,
        best_step=best[1] if best else 0,
    )


def update(
    step: int, *, loss: float = 5.0, nll: float | None = 4.0, skipped: bool = False, norm: float = 1.5
) -> seqx.Update:
    means = {"loss": loss} if nll is None else {"loss": loss, "nll": nll}
    return seqx.Update(
        step=step,
        sums={name: torch.tensor(1000 * mean) for name, mean in means.items()},
        counts=dict.fromkeys(means, 1000),
        tokens=1000,
        padding=0.05,
        at=Position(0, step - 1),
        then=Position(0, step),
        learning_rate=step * 1e-5,
        norm=torch.tensor(norm),
        seconds=0.5,
        skipped=torch.tensor(skipped),
        oom_retries=0,
        health=torch.tensor([float(skipped), norm, loss]),
    )


def evaluation_with(bleu: float) -> seqx.Evaluation:
    answers = [
        seqx.Answer(input=f"in {i}", output=f"out\n\x1b[2J{i}", reference=f"ref {i}") for i in range(9)
    ]
    scores = {
        "bleu": seqx.Score(value=bleu, signature="nrefs:1|case:mixed"),
        "chrf": seqx.Score(value=2 * bleu, signature="nrefs:1"),
    }
    return seqx.Evaluation(scores=scores, answers=answers, perplexity=7.25)


class Simulation:
    """A simulated run with callbacks."""

    def __init__(self, run: seqx.Run, *callbacks: seqx.Callback, clock: Clock | None = None) -> None:
        self.run = run
        self.events: pluggy.HookRelay = events(callbacks)
        self.clock = clock or Clock()

    def start(self) -> None:
        self.events.started(run=self.run)

    def update(self, first: int, last: int) -> None:
        """Call the event of the updates `first` to `last`, one per second; the loss falls by 0.01."""
        for step in range(first, last + 1):
            self.clock.now += 1
            self.events.updated(run=self.run, update=update(step, loss=5 - step / 100, nll=4 - step / 100))

    def evaluate(
        self,
        step: int,
        bleu: float = 20.0,
        split: str = "dev",
        evaluation: seqx.Evaluation | None = None,
        *,
        is_final: bool = False,
    ) -> None:
        self.events.evaluated(
            run=self.run,
            step=step,
            split=split,
            evaluation=evaluation or evaluation_with(bleu),
            predictor=None,
            is_final=is_final,
        )

    def save(self, step: int) -> None:
        self.events.saved(run=self.run, step=step, path=self.run.folder / "checkpoints" / f"{step:08}")

    def finish(self) -> None:
        scores = {"dev": evaluation_with(21.0).scores, "test": evaluation_with(20.5).scores}
        self.events.finished(run=self.run, scores=scores, predictor=None)

    def fail(self, error: BaseException) -> None:
        self.events.failed(run=self.run, error=error)
