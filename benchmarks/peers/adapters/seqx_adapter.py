"""seqx, as `seqx run` and `seqx translate` use it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch

from benchmarks.gpu.recipes import experiment, model
from benchmarks.peers.sizes import LEARNING_RATE, Pairs, Size
from benchmarks.peers.worker import Decode, Update
from seqx.data.loader import Microbatch, Position, UpdateBatch
from seqx.inference import load
from seqx.interfaces.task import Example
from seqx.interfaces.tensors import Batch, Column
from seqx.parallel.parallelism import SingleDevice, Step
from seqx.runtime import cpu_threads
from seqx.runtime.allocator import keep_heap
from seqx.runtime.devices import device_of
from seqx.runtime.matrix_products import fast_products
from seqx.training.compile import compile_layers
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx.training.loop import updates


def versions() -> Mapping[str, str]:
    """Return the version of torch; the record has the commit of seqx."""
    return {"torch": torch.__version__}


def training(
    size: Size,
    vocabulary: int,
    threads: int,
    *,
    precision: Literal["bf16", "fp32"] = "fp32",
    products: AbstractContextManager[None] | None = None,
    compiled: bool = False,
) -> Update:
    """Return seqx's training loop, one update at a time.

    Args:
        size: the size of the model
        vocabulary: the number of symbols
        threads: the number of threads
        precision: the precision of matrix products
        products: the context of matrix products in each update; None: that of `seqx run`
        compiled: compile each layer
    """
    torch.set_num_threads(threads)
    cpu_threads.adapt_to_contention()
    keep_heap()
    setup = experiment("wmt_en_de", size.overrides)
    torch.manual_seed(1)
    built = model(setup, vocabulary)
    if compiled:
        compile_layers(built)
    step = Step(built, setup.training.objective)
    device = device_of("cpu")  # limits the memory of kernels
    products = products or fast_products(device, precision)
    waiting: list[UpdateBatch] = []
    stream = updates(
        GradientAccumulation(strategy=SingleDevice.of(step, device), device=device, precision=precision),
        setup.training.optimizer.build(step),
        lambda _: LEARNING_RATE,
        _popped(waiting),
        clip=setup.training.clip,
        done=0,
    )

    def update(pairs: Pairs) -> float:
        waiting.append(_update_batch(pairs))
        with products:
            return next(stream).loss

    return update


def _popped(waiting: list[UpdateBatch]) -> Iterator[UpdateBatch]:
    """Yield the batch that was appended before each request."""
    while True:
        yield waiting.pop()


def _update_batch(pairs: Pairs) -> UpdateBatch:
    """Return the examples as seqx's loader does."""
    columns = {name: _column(torch.from_numpy(values)) for name, values in pairs._asdict().items()}
    batch = Microbatch(Batch(columns, pairs.tokens), torch.arange(len(pairs.target)).numpy())
    tokens = sum(int(column.layout.keep.sum()) for column in columns.values())
    return UpdateBatch(
        position=Position(),
        microbatches=[batch],
        target_tokens=pairs.tokens,
        token_fraction=tokens / batch.padded_tokens,
    )


def _column(values: torch.Tensor) -> Column:
    return Column.of(values, (values != 0).sum(1))


def logprobs(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the log-probability of each target, EOS included, given its source."""
    predictor = load(folder, device="cpu", precision="fp32")
    examples = [predictor.task.example(pair, training=False) for pair in pairs]
    values = predictor.logprobs([example for example in examples if isinstance(example, Example)])
    return [value for value in values if value is not None]


def decoding(folder: Path, *, beam: int, threads: int, extra: int, precision: str = "fp32") -> Decode:
    """Return a translator with seqx's default batches; hypotheses are ranked by their log-probability."""
    torch.set_num_threads(threads)
    overrides = [f"search.size={beam}", "search.alpha=0", f"search.extra={extra}"]
    predictor = load(folder, device="cpu", precision=precision, overrides=overrides)  # type: ignore[arg-type]
    return predictor.__call__
