"""An update in bf16 casts activations once per stack, builds each mask once, and needs no mask per head."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from seqx.data.store import Store
from seqx_transformer.layers import LayerNorm, Residual
from seqx_watch.metrics import Window
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu, aten
from tests.simulated_gpu.small import CUDA, setup, training

D, LAYERS = 16, 3
STACK = (
    f"{{type: transformer, layers: {LAYERS}, dropout: 0.1, attention: {{type: multihead, heads: 2}}, "
    "feedforward: {type: relu, width: 32}}"
)
MODEL = f"model={{type: encoder_decoder, d_model: {D}, encoder: {STACK}, decoder: {STACK}}}"


class Recording(SimulatedGpu):  # type: ignore[no-untyped-call]
    """A simulated GPU that records the casts of activations [B, T, D] in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.casts: list[torch.Size] = []

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is aten._to_copy.default and torch.is_grad_enabled():
            source, dtype = args[0], kwargs.get("dtype")
            changes = dtype is not None and dtype != source.dtype and source.dtype.is_floating_point
            if changes and source.dim() == 3 and source.size(-1) == D:
                self.casts.append(source.shape)
        return super().run(func, args, kwargs)


@contextmanager
def update(recipe_folder: Path, store: Store, *overrides: str) -> Iterator[Recording]:
    """Yield a simulated GPU that has made one update in bf16."""
    config = setup(recipe_folder, [MODEL, *overrides])
    with Recording() as gpu, training(config, store, CUDA, "bf16", groups=1) as (_, stream):
        next(stream)
        yield gpu


def test_activations_are_cast_once_per_stack(recipe_folder: Path, store: Store) -> None:
    with update(recipe_folder, store) as gpu:
        assert len(gpu.casts) == 2


def norm_of_autocast(norm: LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, (norm.d_model,), norm.weight, norm.bias, norm.eps)


def residual_in_float32(residual: Residual, x: Tensor, output: Tensor) -> Tensor:
    return residual.norm((x.float() + output).to(x.dtype))


@pytest.mark.parametrize(("part", "fault"), [(LayerNorm, norm_of_autocast), (Residual, residual_in_float32)])
def test_cast_in_each_layer_is_counted(
    part: type[nn.Module], fault: Any, recipe_folder: Path, store: Store
) -> None:
    with mock.patch.object(part, "forward", fault), update(recipe_folder, store) as gpu:
        assert len(gpu.casts) > 2 + LAYERS


@contextmanager
def recorded_masks() -> Iterator[tuple[list[seqx.Mask], list[tuple[torch.Size | None, bool]]]]:
    """Yield the masks that are built, and for each attention the shape of its mask, and if it is causal."""
    built: list[seqx.Mask] = []
    passed: list[tuple[torch.Size | None, bool]] = []
    visible, attention = seqx.Mask._visible, F.scaled_dot_product_attention

    def record_built(mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> Tensor:
        built.append(mask)
        return visible(mask, queries, keys)

    def record_passed(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        passed.append((None if mask is None else mask.shape, bool(args[1])))
        return attention(q, k, v, mask, *args, **kwargs)

    with (
        mock.patch.object(seqx.Mask, "_visible", record_built),
        mock.patch.object(F, "scaled_dot_product_attention", record_passed),
    ):
        yield built, passed


def test_each_stack_builds_its_masks_once_and_no_mask_has_heads(recipe_folder: Path, store: Store) -> None:
    with recorded_masks() as (built, passed), update(recipe_folder, store):
        assert len(built) == 2  # of the padded source, for the encoder and for cross-attention
        assert len(passed) == 3 * LAYERS
        assert sum(causal and shape is None for shape, causal in passed) == LAYERS
        masks = [shape for shape, causal in passed if not causal]
        assert all(shape is not None and shape[1] == 1 for shape in masks)


def test_mask_that_layers_do_not_share_is_built_in_each_layer(recipe_folder: Path, store: Store) -> None:
    with (
        mock.patch.object(seqx.Mask, "share", lambda mask, *_: mask),
        recorded_masks() as (built, _),
        update(recipe_folder, store),
    ):
        assert len(built) >= 2 * LAYERS


def test_mask_for_each_head_is_noticed(recipe_folder: Path, store: Store) -> None:
    """T5's positions add a term for each head, so the mask cannot be left out."""
    positions = [f"model.{side}.positions=t5" for side in ("encoder", "decoder")]
    with recorded_masks() as (_, passed), update(recipe_folder, store, *positions):
        assert any(shape is not None and shape[1] > 1 for shape, _ in passed)
        assert not any(causal for _, causal in passed)


def test_metrics_are_read_once_in_several_updates(recipe_folder: Path, store: Store) -> None:
    """Until then, no kernel is launched and the host does not wait."""
    config = setup(recipe_folder, [MODEL])
    with SimulatedGpu() as gpu, training(config, store, CUDA, "bf16", groups=1) as (_, stream):
        window = Window()
        updates = [next(stream) for _ in range(4)]
        gpu.reset()
        for each in updates:
            window.add(each)
        assert (gpu.kernels, gpu.waits.total()) == (0, 0)
        window.read()
        assert gpu.waits.total() == 1
        few = gpu.kernels
        gpu.reset()
        for each in updates:  # a read in each update
            window.add(each)
            window.read()
        assert gpu.waits.total() == 4
        assert gpu.kernels > few
