"""The section `training` of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from seqx.interfaces.learning import Objective, Optimizer, Schedule
from seqx.parallel.parallelism import Parallelism
from seqx.runtime.precision import Precision
from seqx.training.ema import Ema

Order = Literal["last", "best"]

Seed = Annotated[int, Ge(0), Lt(2**64)]
"""A seed; torch uses 64 bits."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """Selection of the checkpoints with the best score on the development set.

    Args:
        type: always best; `select: best` is short for this section with `by: null`
        by: the name of a score of the task, or perplexity; null: the task's first score
    """

    type: Literal["best"] = "best"
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Early stopping when a score no longer improves.

    Args:
        validations: the number of validations in a row without a better score
        by: the name of a score of the task, or perplexity; null: the task's first score
    """

    validations: Annotated[int, Gt(0)]
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Spike:
    """Detection of spikes: several updates in a row whose gradient or loss is far above the median.

    An update is high if its loss, or the norm of its gradient before clipping, is larger than a multiple of
    the median over the last `window` updates that were not high. Detection starts after `window` updates. The
    run then rolls back to a checkpoint and skips batches, as in Chowdhery et al. 2022 (PaLM), section 5.1.

    Args:
        norm: the multiple of the median norm of the gradient
        loss: the multiple of the median loss
        updates: the number of high updates in a row after which the run rolls back
        window: the number of updates over which medians are computed
    """

    norm: Annotated[float, Gt(1)] = 10.0
    loss: Annotated[float, Gt(1)] = 2.0
    updates: Annotated[int, Gt(0)] = 5
    window: Annotated[int, Gt(0), Lt(2**31)] = 100


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """The model that a run starts from; `init_from: MODEL` is short for this section with only `model`.

    Args:
        model: the folder of a model, or of a finished run
        vocabulary: keep: use the vocabulary of the model; extend: add the symbols, languages, labels and tags
            that it lacks, with new rows of the embeddings; all other rows start with the values of the model
        freeze: parameters that keep the values of the model: names of parameters or of modules, such as
            encoder, in which * stands for any text
        reset_optimizer: start with a new state of the optimizer; false: with that of the run in `model`
        old_test: after training, report the scores of the model and of the result on the test set of the
            model's own corpus, if it has one
    """

    model: Path
    vocabulary: Literal["keep", "extend"] = "keep"
    freeze: tuple[str, ...] = ()
    reset_optimizer: bool = True
    old_test: bool = True

    def __post_init__(self) -> None:
        """Refuse inconsistent settings."""
        if self.vocabulary == "extend" and not self.reset_optimizer:
            raise ValueError(
                "reset_optimizer: the state of the optimizer has no new rows; set reset_optimizer: true, or "
                "vocabulary: keep"
            )


@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of training, and of the selection of the final model.

    Args:
        steps: the number of updates of the weights
        tokens: target tokens per update, over all devices and microbatches
        groups: the number of groups per update; each group has sentences of similar length
        packing: put several examples into each row, so that the batches of an epoch have few shapes, and less
            padding; null: on a GPU, if model, objective and task support it. A resumed run keeps what it
            began with
        microbatch: maximum padded tokens per forward and backward pass on one device; null: 4096 on a CPU, no
            limit on a GPU
        objective: the training loss
        optimizer: the optimizer
        schedule: the learning-rate schedule
        clip: the maximum norm of the gradient, to which it is clipped; null: do not clip
        precision: the precision of matrix products; auto is bf16 if the hardware computes it, else fp32
        weight_precision: the precision of the weights that networks read in training. bf16: the optimizer
            updates a copy in fp32, which is validated and saved, and the weights are rounded from it; needs
            precision bf16 and one process
        deterministic: use only kernels whose results are the same bits every time, so that a resumed run on a
            GPU gives the same parameters as one that was not interrupted; slower on a GPU, no effect on a CPU
        parallel: the strategy by which several processes train one model; null: ddp. A run with one process
            ignores it
        compile: compile each layer; meant for GPUs; on the CPU that was measured it made updates slower
        validate_every: the number of updates between two validations on the development set
        save_every: the number of updates between two checkpoints that may be averaged or selected
        save_minutes: minutes between two checkpoints that only serve to resume the run; null: no such
            checkpoints
        keep_checkpoints: the number of checkpoints kept for averaging, besides the newest and the best one
        ema: keep an exponential moving average of the weights, and validate, select and average it instead of
            the weights; null: keep none
        average: the number of checkpoints whose mean becomes the model, unless the last or the best
            checkpoint is better on the development set
        select: the checkpoints that are averaged: the last ones, or the best ones on the development set;
            with best, each validation saves a checkpoint; {type: best, by: perplexity} names another score
        patience: the number of validations without a better score after which training stops;
            {validations: 5, by: perplexity} names another score; null: never
        max_nonfinite: the number of non-finite updates in a row that are skipped; after one more, the run
            rolls back to the last checkpoint before them and skips their batches
        spike: roll back to an earlier checkpoint also after loss spikes; null: do not
        max_rollbacks: the number of rollbacks that a run may make; when another one is due, it stops with an
            error
        sampling_processes: the number of processes that sample segmentations of the training text beside each
            training process, if the task samples them; the result does not depend on it. null: none on a CPU;
            on a GPU one for each CPU that training processes leave, at most 8
        seed: the seed of all random numbers
        init_from: the folder of a model whose vocabulary and weights the run starts from; a section also says
            what is extended or frozen; null: train a new vocabulary, and initialise the weights as the model
            does
        embeddings: files of vectors from which embeddings start, in word2vec's text format:
            `{source: en.vec, target: de.vec}`
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "choose": "select",
        "init": "init_from",
        "keep": "keep_checkpoints",
        "nonfinite": "max_nonfinite",
        "returns": "max_rollbacks",
        "sharding": "parallel",
    }

    not_settings: ClassVar[Mapping[str, str]] = {
        "epochs": "set steps, the number of updates; `seqx plan RECIPE` prints how many epochs these are",
        "batch_size": "set tokens, the number of target tokens per update",
        "learning_rate": "set it in schedule, as in schedule: {type: constant, rate: 1e-3}",
        "lr": "set it in schedule, as in schedule: {type: constant, rate: 1e-3}",
    }

    renamed_values: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sharding": {
            "none": None,
            "state": {"type": "fsdp", "reshard_after_forward": False},
            "full": "fsdp",
        },
    }

    steps: Annotated[int, Gt(0)] = 100_000
    tokens: Annotated[int, Gt(0), Lt(2**53)] = 25_000  # a plan adds up such numbers in 64 bits
    groups: Annotated[int, Gt(0)] = 1
    packing: bool | None = None
    microbatch: Annotated[int, Gt(0)] | None = None
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    clip: Annotated[float, Gt(0)] | None = None
    precision: Precision = "auto"
    weight_precision: Literal["bf16", "fp32"] = "fp32"
    deterministic: bool = False
    parallel: Parallelism | None = None
    compile: bool = False
    validate_every: Annotated[int, Gt(0)] = 1000
    save_every: Annotated[int, Gt(0)] = 1000
    save_minutes: Annotated[float, Gt(0)] | None = 10.0
    keep_checkpoints: Annotated[int, Gt(0)] = 5
    ema: Ema | None = None
    average: Annotated[int, Gt(0)] = 5
    select: Order | Best = "last"
    patience: Annotated[int, Gt(0)] | Patience | None = None
    max_nonfinite: Annotated[int, Ge(0)] = 10
    spike: Spike | None = None
    max_rollbacks: Annotated[int, Ge(0)] = 3
    sampling_processes: Annotated[int, Ge(0)] | None = None
    seed: Seed = 1
    init_from: Path | InitialModel | None = None
    embeddings: dict[Literal["source", "target"], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse inconsistent settings."""
        if self.weight_precision == "bf16" and self.precision == "fp32":
            raise ValueError(
                "weight_precision is bf16, but precision is fp32; set precision: bf16, "
                "or weight_precision: fp32"
            )
        if self.embeddings and self.init_from is not None:
            raise ValueError("embeddings: those of the model in init_from are used; set only one of both")
        if self.average > self.keep_checkpoints:
            raise ValueError(
                f"average: {self.average} checkpoints are averaged, but keep_checkpoints is "
                f"{self.keep_checkpoints}; set keep_checkpoints to {self.average} or more"
            )

    def schedule_warning(self) -> str | None:
        """Return a warning if the learning rate still rises at the last update; else None."""
        steps, schedule = self.steps, self.schedule
        if steps < 2 or schedule(steps, steps) <= schedule(steps - 1, steps):
            return None
        return (
            f"training.schedule: the learning rate still rises at the last update, {steps:,}; set a shorter "
            "warm-up, or more training.steps"
        )

    @property
    def initial_model(self) -> InitialModel | None:
        """The setting `init_from` as a section, even if the recipe gives only a folder."""
        return InitialModel(model=self.init_from) if isinstance(self.init_from, Path) else self.init_from

    @property
    def order(self) -> Order:
        """The order by which `select` picks checkpoints: the last ones, or the best ones."""
        return "best" if isinstance(self.select, Best) else self.select

    @property
    def selection_score_name(self) -> str | None:
        """The name of the score by which checkpoints are compared; None: the task's first score."""
        return self.select.by if isinstance(self.select, Best) else None

    @property
    def early_stopping(self) -> Patience | None:
        """The setting `patience` as a section, even if the recipe gives only a number."""
        return Patience(validations=self.patience) if isinstance(self.patience, int) else self.patience
