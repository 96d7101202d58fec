"""Weights of linear maps in the formats that CPUs multiply fastest.

Letters in shapes: O outputs, I inputs, N rows.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only


class OneDNN:
    """The format of oneDNN, in float32."""

    dtype = torch.float32

    def __init__(self, weight: Tensor) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(self.dtype))  # noqa: SLF001
        self._linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001  not looked up in each call
        self._bias: tuple[Tensor | None, Tensor | None] = None, None  # the last bias, and its conversion

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x W' + b [..., O] for x [..., I]."""
        last = self._bias
        if bias is not last[0]:
            self._bias = last = bias, None if bias is None else bias.to(self.dtype).contiguous()
        outputs: Tensor = self._linear(x.to(self.dtype), self._packed, last[1], "none", [], "")
        return outputs

    def dense(self) -> Tensor:
        """Return the weight [O, I] in float32."""
        return self._packed.to_dense().float()


class OneDNNBf16(OneDNN):
    """The format of oneDNN, in bfloat16."""

    dtype = torch.bfloat16


class Int8:
    """Weights in int8 with one scale per output. Inputs are rounded to 8 bits with one scale per row.

    So the outputs of a row do not depend on the other rows of a batch.
    """

    def __init__(self, weight: Tensor) -> None:
        scales = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny).div(127)
        with warnings.catch_warnings():
            # PyTorch will remove quantized tensors, but has no other way to pack a weight for this kernel.
            warnings.filterwarnings("ignore", message=".*quantize_per", category=UserWarning)
            quantized = torch.quantize_per_channel(
                weight, scales.double(), torch.zeros(len(weight), dtype=torch.long), 0, torch.qint8
            )
        self._packed = torch.ops.quantized.linear_prepack(quantized, None)
        # Without VNNI, the kernel adds products of two inputs in 16 bits, so inputs may have only 7 bits.
        self._largest = 127 if torch.cpu._is_vnni_supported() else 63  # noqa: SLF001

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x W' + b [..., O] for x [..., I]."""
        rows = x.float().reshape(-1, x.size(-1))  # [N, I]
        scales = rows.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny)
        outputs = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / scales, 1 / self._largest, self._largest + 1, self._packed
        )
        outputs.mul_(scales) if bias is None else torch.addcmul(bias, outputs, scales, out=outputs)
        return outputs.view(*x.shape[:-1], outputs.size(1))

    def dense(self) -> Tensor:
        """Return the weight [O, I] in float32."""
        return torch.ops.quantized.linear_unpack(self._packed)[0].dequantize()


class Rows:
    """Some rows of a packed weight, for the parts of a joined one.

    Args:
        whole: the weight
        rows: the rows
    """

    def __init__(self, whole: "PackedWeight", rows: slice) -> None:
        self._whole = whole
        self._rows = rows

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x W' + b [..., O] for x [..., I]."""
        outputs = self._whole.linear(x, None)[..., self._rows]
        return outputs if bias is None else outputs + bias

    def dense(self) -> Tensor:
        """Return the weight [O, I] in float32."""
        return self._whole.dense()[self._rows]


Packed = OneDNN | Int8

_READS_NO_VALUES = {
    *(getattr(Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "layout")),
    *(getattr(Tensor, name).__get__ for name in ("requires_grad", "is_cpu", "is_cuda", "is_meta")),
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point, Tensor.element_size),
}
"""Functions of a tensor for which a packed weight is not unpacked."""


class Joined(NamedTuple):
    """The parameters of several linear maps of the same input, and those of one map in their place."""

    parts: Sequence[Tensor]
    weight: "PackedWeight"
    bias: Tensor | None


class PackedWeight(Tensor):
    """A parameter that `F.linear` multiplies in a packed format.

    Every other operation that reads values, and every operation that needs gradients, gets a usual tensor
    with the same values, so code that does not know this class works as before.
    """

    _is_param = True  # nn.Module accepts it as a parameter
    _pack: type[Packed]
    _dense: Tensor | None  # None: it is unpacked when it is needed
    _packed: Packed | Rows | None  # None: `F.linear` was not called yet
    _joined: Joined | None = None  # the last result of `join` of which this is the first part

    @classmethod
    def of(cls, weight: Tensor, packed: type[Packed], *, is_embedding: bool) -> Self:
        """Return a weight [O, I] that `F.linear` multiplies in a packed format.

        Args:
            weight: the weight
            packed: the format
            is_embedding: rows of the weight are embeddings, too, so keep the usual tensor, and pack it when
                `F.linear` is first called
        """
        # An expanded tensor has the shape of the weight, but needs no memory.
        empty = torch.empty(()).expand(weight.shape).as_subclass(cls)
        return empty._hold(packed, weight.detach(), is_embedding=is_embedding)  # noqa: SLF001

    def _hold(self, packed: type[Packed], weight: Tensor, *, is_embedding: bool) -> Self:
        self._pack = packed
        self._dense = weight if is_embedding else None
        self._packed = None if is_embedding else packed(weight)
        return self

    def join(self, others: Sequence[Tensor], biases: Sequence[Tensor]) -> Joined | None:
        """Return one weight for this and other linear maps of the same input; None unless all are packed.

        The result is kept, and all parts refer to it, so that no weight is held twice.

        Args:
            others: the weights [O, I] of the other maps
            biases: the biases [O] of all maps; empty: there are none
        """
        parts = [self, *others, *biases]
        if self._joined is None or any(a is not b for a, b in zip(self._joined.parts, parts, strict=True)):
            weights = [self, *(other for other in others if isinstance(other, PackedWeight))]
            if len(weights) <= len(others):
                return None
            usual = [weight.dense() for weight in weights]
            whole = self.of(torch.cat(usual), self._pack, is_embedding=False)
            for weight, end in zip(weights, accumulate(map(len, usual)), strict=True):
                weight.refer_to(whole, slice(end - weight.size(0), end))
            self._joined = Joined(parts, whole, torch.cat([*biases]) if biases else None)
        return self._joined

    def refer_to(self, whole: "PackedWeight", rows: slice) -> None:
        """Use rows of another weight, which have the same values, instead of an own copy."""
        self._dense, self._packed = None, Rows(whole, rows)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch with a packed weight."""
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001
            if func is F.linear and not torch.is_grad_enabled():
                x, weight, bias = _linear_arguments(*args, **(kwargs or {}))
                if isinstance(weight, PackedWeight):
                    return weight.linear(x, bias)
            if func in _READS_NO_VALUES:
                return func(*args, **(kwargs or {}))
            if func is torch._has_compatible_shallow_copy_type:  # noqa: SLF001
                return False  # `Module.to` then replaces the parameter
            return func(
                *tree_map_only(PackedWeight, PackedWeight.dense, args),
                **tree_map_only(PackedWeight, PackedWeight.dense, kwargs or {}),
            )

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x W' + b [..., O] for x [..., I]."""
        if self._packed is None:
            assert self._dense is not None, "it is dense or packed"
            self._packed = self._pack(self._dense)
        return self._packed.linear(x, bias)

    def dense(self) -> Tensor:
        """Return a usual tensor [O, I] with the same values."""
        if self._dense is not None:
            return self._dense
        assert self._packed is not None, "it is dense or packed"
        return self._packed.dense()


def _linear_arguments(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:  # noqa: A002
    """Return the arguments of `F.linear`, passed by position or by name."""
    return input, weight, bias
