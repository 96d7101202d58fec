"""The speed to expect, by arithmetic, before anything is measured.

An update takes at least the time of its matrix products, plus the time to read and write the tensors of all
other operations, or the time to launch its kernels, if that is longer. Nothing else is counted, so these are
upper bounds of the speed. The rates are those of an H200; a record has the measured ones beside them.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks import corpus
from benchmarks.gpu.arithmetic import Arithmetic
from benchmarks.gpu.decoding import LENGTH
from benchmarks.gpu.recipes import experiment, model

MATMUL, COPY = 790e12, 4.0e12
"""Operations per second of matrix products in bf16, and bytes per second of a copy, read and written."""

LAUNCH = 5e-6
"""Seconds in which the host launches a kernel."""

UPDATE_KERNELS, STEP_KERNELS = 700, 320
"""Kernels of an update (`tests/simulated_gpu/test_kernels.py` has this limit), and of a decoding step."""

TOKENS, VOCABULARY, LAYERS, ROW = 25_000, 37_000, 6, 256

# Tensors [tokens, d_model] in bf16 that a layer reads or writes outside of matrix products, forward and
# backward: residual sum, norm, dropout and their gradients for each sub-layer, and those of attention.
PASSES = {"encoder": 2 * 14 + 16, "decoder": 3 * 14 + 32}
LOGIT_BYTES = 20
"""Bytes that are read and written for each logit: log-softmax, sums and gradient in float32, cast to bf16."""

OPTIMIZER_BYTES = 4 * 7
"""Bytes for each parameter: gradient, weight and two moments are read, and all but the gradient written."""

EAGER_PASSES = 16
"""Tensors [heads, row, row] in bf16 of an attention without a fused kernel, forward and backward, per row."""


def expected() -> Mapping[str, Any]:
    """Return the rates that are assumed, and the speed that is expected of the cases, by name."""
    base, big = training("wmt_en_de"), training("wmt_en_de_big")
    eager = training("wmt_en_de", attention_bytes=EAGER_PASSES * 2 * 8 * 3 * LAYERS * ROW * TOKENS)
    return {
        "assumed": {"matmul_tflops": MATMUL / 1e12, "copy_tbps": COPY / 1e12, "launch_us": LAUNCH * 1e6},
        "goals": {"base": 0.45, "big": 0.55, "output_tokens_per_second": 100_000},
        "training": {"base": base, "big": big, "base deterministic": eager},
        "decoding": {f"batch {size} without graphs": decoding(size) for size in (64, 1024)},
    }


def training(recipe: str, attention_bytes: float = 0.0) -> Mapping[str, float]:
    """Return the expected speed of training, in target tokens per second and relative to matrix products."""
    built, d_model = _model(recipe)
    mean = torch.tensor([corpus.MEAN + 1])
    operations = TOKENS / (corpus.MEAN + 1) * Arithmetic(built).training(mean.numpy(), mean.numpy())
    parameters = sum(parameter.numel() for parameter in built.parameters())
    moved = 2 * d_model * TOKENS * LAYERS * sum(PASSES.values()) + LOGIT_BYTES * VOCABULARY * TOKENS
    moved += OPTIMIZER_BYTES * parameters + attention_bytes
    seconds = max(operations / MATMUL + moved / COPY, UPDATE_KERNELS * LAUNCH)
    return {
        "milliseconds_per_update": 1e3 * seconds,
        "target_tokens_per_second": TOKENS / seconds,
        "fraction_of_matmul": operations / seconds / MATMUL,
    }


def decoding(sentences: int) -> Mapping[str, float]:
    """Return the expected speed of beam search with four hypotheses, whose kernels the host launches."""
    built, d_model = _model("wmt_en_de")
    hypotheses, parameters = 4 * sentences, sum(parameter.numel() for parameter in built.parameters())
    operations = 2 * hypotheses * Arithmetic(built).target
    cache = (
        2 * 2 * d_model * LAYERS * sentences * (LENGTH + 4 * LENGTH / 2)
    )  # source, and half of the outputs
    moved = 2 * parameters + LOGIT_BYTES * VOCABULARY * hypotheses + cache
    seconds = max(operations / MATMUL + moved / COPY, STEP_KERNELS * LAUNCH)
    return {"milliseconds_per_step": 1e3 * seconds, "output_tokens_per_second": sentences / seconds}


def _model(recipe: str) -> Any:
    """Return a model without weights, and its width."""
    with torch.device("meta"):
        built = model(experiment(recipe), VOCABULARY)
    return built, built.d_model


if __name__ == "__main__":
    print(json.dumps(expected()))
