"""Training of a small network on two ranks, which the laws of parallel strategies examine."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from seqx.data.loader import Microbatch, Position, UpdateBatch
from seqx.errors import UserError
from seqx.interfaces.learning import Objective, Optimizer
from seqx.interfaces.tensors import Batch, Layers
from seqx.parallel import World, heartbeat
from seqx.parallel.parallelism import Parallelism, SingleDevice, Step
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.testing.checks import set_seed
from seqx.testing.law import Subject
from seqx.testing.ranks import run_on_ranks
from seqx.testing.samples import SIZE, TARGET_LENGTHS, T, sentences
from seqx.training.checkpointer import Checkpointer
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import updates
from seqx.training.placement import optimizer_of, set_up
from seqx.training.update import Update

CPU = torch.device("cpu")
UPDATES, SAVED = 5, 3
"""The number of updates of a run, and the update after which it is saved."""

FAULTY_UPDATE = 2
"""The update in which the second rank runs out of memory, or has a gradient that is not finite."""


class Network(nn.Module):
    """A network that predicts each target token from the token itself."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SIZE, 8)
        self.layers: Layers[nn.Linear] = Layers([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, SIZE)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [B, T, V]."""
        x = self.embedding(ids)
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.head(x)


class Loss(Objective):
    """The cross-entropy of a network; `fault` changes its sums in one forward pass."""

    fault: str = ""
    """"oom": the next pass runs out of memory; "nan": the next sum is NaN; "": no fault."""

    def forward(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Return the sum over all target tokens."""
        fault, self.fault = self.fault, ""
        if fault == "oom":
            raise torch.OutOfMemoryError("no more")
        ids, layout = batch.columns["target"]
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten(), reduction="none")
        total = (loss * layout.keep.flatten()).sum()
        return {"loss": total * torch.nan if fault == "nan" else total}


class Momentum(Optimizer):
    """SGD with momentum, whose steps are proportional to the gradient."""

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def new_step() -> Step:
    """Return a network with the weights that all ranks begin with, and its objective."""
    set_seed(0)
    network: Any = Network()
    return Step(network, Loss())


def examples(seed: int, count: int) -> Batch:
    """Return a batch of random sentences; rank and update determine the seed."""
    lengths = TARGET_LENGTHS[:count]
    return Batch({"target": sentences(lengths, T, seed)}, int(lengths.sum()))


def microbatches_of(rank: int, update: int) -> list[Batch]:
    """Return the microbatches of a rank: two on rank 0, one on rank 1, which has none in the last update."""
    if rank == 0:
        return [examples(10 * update, 4), examples(10 * update + 1, 2)]
    return [] if update == UPDATES else [examples(10 * update + 2, 3)]


def update_batch(number: int, batches: Sequence[Batch]) -> UpdateBatch:
    """Return the batch of an update."""
    microbatches = [Microbatch(batch, np.arange(len(batch.columns["target"].values))) for batch in batches]
    return UpdateBatch(
        position=Position(0, number - 1),
        microbatches=microbatches,
        target_tokens=1,
        token_fraction=1.0,
        dummy=Microbatch(examples(1, 1), np.arange(1)),
    )


@dataclass(frozen=True)
class Numbers:
    """The numbers that a rank reports for an update."""

    counts: dict[str, int]
    loss: float
    norm: float
    skipped: bool

    @classmethod
    def of(cls, update: Update) -> "Numbers":
        """Return the numbers of an update."""
        loss, norm = float(update.sums["loss"]), float(update.norm)
        return cls(dict(update.counts), loss, norm, bool(update.skipped))


@dataclass
class Trained:
    """The updates of a run on one rank, and the gathered model after the last one."""

    updates: list[Numbers] = field(default_factory=list)
    model: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Seen:
    """The results of one rank."""

    plain: Trained = field(default_factory=Trained)  # each rank has its own examples
    equal: Trained = field(default_factory=Trained)  # all ranks have the examples of rank 0
    gathered: Trained = field(default_factory=Trained)  # as plain, gathering the model after each update
    saved: Trained = field(default_factory=Trained)  # as plain, saving a checkpoint after SAVED updates
    resumed: Trained = field(default_factory=Trained)  # the updates after that checkpoint
    not_finite: Trained = field(default_factory=Trained)  # the loss of rank 1 is NaN in one update
    other_states: list[str] = field(default_factory=list)  # the outcomes of loading states of other runs
    stages: list[str] = field(default_factory=list)  # those that the strategy entered in `plain`
    oom: Trained = field(default_factory=Trained)  # rank 1 runs out of memory in one update


class Run:
    """A run of a strategy on one rank."""

    def __init__(self, strategy: Parallelism, world: World) -> None:
        self.step = new_step()
        self.strategy, self.world = strategy, world
        set_up(strategy, self.step, world, CPU)
        self.optimizer = optimizer_of(strategy, Momentum())
        self.trained = Trained()

    def updates(self, first: int, last: int, *, rank: int | None = None, fault: str = "") -> Iterator[Update]:
        """Make updates, and yield each. `rank`: the rank whose examples are used; None: this one."""
        chosen = self.world.rank if rank is None else rank
        batches = (update_batch(n, microbatches_of(chosen, n)) for n in range(first, last + 1))
        accumulation = GradientAccumulation(strategy=self.strategy, device=CPU, precision="fp32")
        stream = updates(accumulation, self.optimizer, lambda _: 0.1, batches, clip=None, done=first - 1)
        for number, update in enumerate(stream, first):
            self.trained.updates.append(Numbers.of(update))
            yield update
            if number == FAULTY_UPDATE - 1 and fault and self.world.rank == 1:
                self.step.objective.fault = fault  # type: ignore[assignment]

    def finished(self) -> Trained:
        """Return the updates, and the gathered model."""
        self.strategy.gather_full_model()
        self.trained.model = {n: t.detach().clone() for n, t in self.strategy.model.state_dict().items()}
        return self.trained

    def checkpointer(self, folder: Path) -> Checkpointer:
        """Return the object that saves and restores the run."""
        return Checkpointer(
            Checkpoints(folder),
            model=self.strategy.model,
            parts={"training.optimizer": self.optimizer},
            strategy=self.strategy,
            warn=lambda _: None,
        )


def single_device(batches: Mapping[int, Sequence[Batch]]) -> Trained:
    """Train the network on one device with the batches of each update."""
    step = new_step()
    strategy = SingleDevice.of(step, CPU)
    optimizer = strategy.build_optimizer(Momentum())
    accumulation = GradientAccumulation(strategy=strategy, device=CPU, precision="fp32")
    stream = [update_batch(number, batch) for number, batch in batches.items()]
    numbers = [
        Numbers.of(update)
        for update in updates(accumulation, optimizer, lambda _: 0.1, stream, clip=None, done=0)
    ]
    return Trained(numbers, {name: t.detach() for name, t in step.model.state_dict().items()})


def train_in_all_ways(subject: Subject, world: World, folder: Path) -> None:
    """Make all runs of `Seen` on one rank; write the results before the last run, and after it."""

    def run() -> Run:
        return Run(subject.build(), world)

    seen, file = Seen(), folder / f"{world.rank}.pt"
    plain, equal, gathered, saved, not_finite = run(), run(), run(), run(), run()
    with mock.patch.object(world, "enter_stage", wraps=world.enter_stage) as enter_stage:
        list(plain.updates(1, UPDATES))
    seen.stages = [call.args[0] for call in enter_stage.call_args_list]
    list(equal.updates(1, UPDATES, rank=0))
    for _ in gathered.updates(1, UPDATES):
        gathered.strategy.gather_full_model()
        gathered.strategy.rank_state()
    list(not_finite.updates(1, FAULTY_UPDATE, fault="nan"))
    for number, _ in enumerate(saved.updates(1, UPDATES), 1):
        if number == SAVED:
            progress = TrainingProgress(step=SAVED)
            saved.checkpointer(folder / "run").save(progress, ranked=True, validation_score=None)
            world.barrier()
            states = saved.world.broadcast(saved.world.gather(saved.strategy.rank_state()))
    resumed = run()
    resumed.checkpointer(folder / "run").resume()
    list(resumed.updates(SAVED + 1, UPDATES))
    for name in ("plain", "equal", "gathered", "saved", "resumed", "not_finite"):
        setattr(seen, name, locals()[name].finished())
    other_numbers = [*states, *states[:1]] if any(states) else []
    for others in (other_numbers, [{"alien": 1}] * world.size):
        seen.other_states.append(_outcome(run().strategy, others))
    torch.save(seen, file)
    oom = run()
    list(oom.updates(1, UPDATES, fault="oom"))
    seen.oom = oom.finished()
    torch.save(seen, file)


def _outcome(strategy: Parallelism, states: Sequence[Mapping[str, Any]]) -> str:
    """Return the type of the error that loading states raises; "" if there is none."""
    try:
        strategy.load_rank_states(states)
    except UserError:
        return "UserError"
    except Exception as error:  # noqa: BLE001  the law reports it
        return f"{type(error).__name__}: {error}"
    return ""


@dataclass(frozen=True)
class Result:
    """The results of both ranks; those of runs that did not happen are empty."""

    ranks: list[Seen]
    codes: list[int]  # exit codes
    stderr: list[str]


_results: dict[Any, Result] = {}


def result_of(subject: Subject) -> Result:
    """Return the results of two ranks; they are computed once for each component and its settings.

    Raises:
        AssertionError: a rank failed before the last run, or did not end
    """
    key = (subject.component.maker, repr(dict(subject.settings)))
    if key not in _results:
        _results[key] = _train(subject)
    result = _results[key]
    assert result.ranks, f"two ranks could not train; the messages of both: {' '.join(result.stderr)}"
    return result


def _train(subject: Subject) -> Result:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(mock.patch.object(heartbeat, "GRACE_S", 1.0))
        exits = run_on_ranks(2, lambda world: train_in_all_ways(subject, world, folder), folder, timeout=60)
        files = [folder / f"{rank}.pt" for rank in range(2)]
        complete = all(file.is_file() for file in files)
        ranks = [torch.load(file, weights_only=False) for file in files] if complete else []
        return Result(ranks, [each.code for each in exits], [each.stderr for each in exits])
