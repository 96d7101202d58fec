"""The number of kernels of an update of a Transformer of the depth of base, in bf16 with dropout.

    pytest tests/simulated_gpu/test_kernels.py -s      # prints the table

The host needs microseconds to launch a kernel. So the number of kernels limits the speed of small updates,
whatever the width of the model.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch

import seqx
from seqx import markdown_table
from seqx.data.store import Store
from seqx.parallel.master_weights import MasterWeights
from seqx.training.chunked_loss import default_rows
from seqx.training.ema import Average, Ema
from seqx_watch.metrics import Window
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.simulated_gpu.small import CPU, CUDA, setup, training

STACK = (
    "{type: transformer, layers: 6, dropout: 0.1, "
    "attention: {type: multihead, heads: 2}, feedforward: {type: relu, width: 32}}"
)
BASE = [
    f"model={{type: encoder_decoder, d_model: 16, tie_embeddings: all, encoder: {STACK}, decoder: {STACK}}}",
    "training.tokens=200",
    "training.objective={type: cross_entropy, chunk: 70}",  # three chunks, as for base on a GPU of 80 GiB
]
FUNCTIONS = {  # the functions of each part of an update
    "copies of the batch": ("to_device",),
    "embeddings, positions": (
        "ScaledEmbedding.forward",
        "Sinusoidal",
        "StackPositions",
        "Column.shifted",
        "Layout",
    ),
    "masks": ("Mask", "TransformerDecoder."),
    "attention": ("MultiHeadAttention", "Sdpa", "project_source"),
    "feed-forward": ("TwoLayerNetwork", "ReLU"),
    "norms": ("LayerNorm",),
    "dropout, residual sums": ("Dropout", "Residual"),
    "loss": (
        *("ScaledEmbedding.logits", "SmoothedCrossEntropy", "_Chunks", "_target_positions", "target_ids"),
        *("chunked_loss", "outputs_before_targets", "GradientAccumulation"),
    ),
    "casts of weights and their gradients": ("_Join",),
    "backward pass": ("backward",),
    "clipping": ("Parallelism.clip_grad_norm",),
    "optimizer": ("_step_with_found_inf", "_health", "updates"),
    "moving average": ("Average",),
    "metrics of two callbacks": ("Window",),
}
LIMITS = {
    "copies of the batch": 6,
    "embeddings, positions": 22,
    "masks": 13,
    "attention": 55,
    "feed-forward": 36,
    "norms": 30,
    "dropout, residual sums": 62,
    "loss": 78,
    "casts of weights and their gradients": 26,
    "backward pass": 339,
    "clipping": 8,
    "optimizer": 16,
    "moving average": 6,
    "metrics of two callbacks": 0,
}
TOTAL = 700


@pytest.fixture(scope="module")
def kernels(recipe_folder: Path, store: Store) -> Counter[str]:
    """Return the number of kernels of each part of an update."""
    config = setup(recipe_folder, BASE)
    with SimulatedGpu() as gpu, training(config, store, CUDA, "bf16", groups=1) as (device, stream):
        average, windows = Average(Ema(), device.model), (Window(), Window())
        gpu.kernels_by = Counter()
        for _ in range(2):
            gpu.reset()  # the first update also creates the state of the optimizer
            update = next(stream)
            average.add_weights(update.skipped)
            for window in windows:
                window.add(update)
        counted = gpu.kernels_by.copy()
        assert counted.total() == gpu.kernels
    return Counter({part: _count(counted, functions) for part, functions in FUNCTIONS.items()}) + counted


def _count(counted: Counter[str], functions: tuple[str, ...]) -> int:
    """Return the number of kernels of some functions, and remove these functions."""
    names = [name for name in counted if name.startswith(functions)]
    return sum(counted.pop(name) for name in names)


def test_each_part_of_an_update_launches_few_kernels(kernels: Counter[str]) -> None:
    print(*markdown_table(("part", "kernels"), [(part, str(kernels[part])) for part in FUNCTIONS]), sep="\n")  # noqa: T201
    assert {part: count for part, count in kernels.items() if count > LIMITS.get(part, 0)} == {}


def test_update_of_base_launches_few_kernels(kernels: Counter[str]) -> None:
    assert kernels.total() - kernels["moving average"] <= TOTAL


def test_update_with_bf16_weights_launches_fewer_kernels(
    kernels: Counter[str], recipe_folder: Path, store: Store
) -> None:
    config = setup(recipe_folder, BASE)
    with (
        SimulatedGpu() as gpu,
        training(config, store, CUDA, "bf16", groups=1, strategy=MasterWeights) as (_, stream),
    ):
        for _ in range(2):
            gpu.reset()
            next(stream)
    assert gpu.kernels < kernels.total() - kernels["moving average"]


@pytest.mark.parametrize("length", [5, 8, 13])
def test_masks_for_fused_kernels_have_aligned_rows(length: int) -> None:
    """Otherwise each attention would copy the mask."""
    keep = torch.arange(length) < torch.tensor([length, length - 2])[:, None]
    with SimulatedGpu() as gpu:
        layout = seqx.Layout.of(keep.to(CUDA))
        mask = seqx.Mask().additive(layout, layout, torch.bfloat16)
        causal = seqx.Mask(causal=True).additive(layout, layout, torch.bfloat16)
        for additive in (mask, causal):
            assert additive.shape == (2, 1, length, length)
            assert all(stride % 8 == 0 for stride in additive.stride()[:-1])
        assert torch.equal((mask[:, 0] == 0).cpu(), keep[:, None].expand(-1, length, -1))
        assert not gpu.mixes


def test_loss_of_base_has_three_chunks_on_a_gpu_of_80_gib() -> None:
    with SimulatedGpu():
        assert 25_000 / 3 < default_rows(CUDA, 37_000) < 25_000 / 2
    assert default_rows(CPU, 37_000) == 512
