"""Memory and floating-point operations of an update, computed with tensors that have shapes but no values."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import seqx


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The tensors of an update on one device, in bytes, and the floating-point operations of a token."""

    parts: Mapping[str, int]  # number of parameters by part of the model
    weights: int
    gradients: int
    optimizer: int  # the states of the optimizer
    activations: int  # all other tensors that exist at the moment of the largest memory
    flops_per_token: float  # per padded token of all columns, forward and backward
    kernels: int  # operations of one microbatch and of the optimizer's step
    products: float  # mean number of different matrix products (operation and shapes) for each microbatch


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A record of operations, of the bytes of all tensors that still exist, and of their maximum.

    The FLOP counter of torch cannot be used: its hooks do not allow a backward pass within the forward pass.
    The loss in chunks needs such a backward pass.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.operations = self.flops = self._live = 0
        self.products: set[tuple[Any, ...]] = set()  # matrix products: operation and shapes
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += not func.is_view
        formula = flop_registry.get(func._overloadpacket)  # noqa: SLF001  as torch's own FLOP counter does
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
            shapes = [tuple(each.shape) for each in tree_leaves(args) if isinstance(each, Tensor)]
            self.products.add((func, *shapes))
        self.add(tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor))
        return out

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors until they are deleted."""
        for tensor in tensors:
            self._add_storage(tensor.untyped_storage())
        self.peak = max(self.peak, self._live)

    def _add_storage(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return

        def remove(_: object) -> None:
            self._live -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, remove)
        self._live += size


def trace(
    trial: seqx.Trial,
    precision: Literal["bf16", "fp32"],
    largest: Sequence[Any],
    typical: Any,
    *,
    accumulates: bool,
) -> Trace:
    """Compute an update for each of the `largest` microbatches, and one for a `typical` microbatch.

    With `accumulates`, an update adds up the gradients of several microbatches.

    The tensors are those of a CPU: on a GPU, a fused kernel of attention may need less memory.
    """
    objective = trial.experiment.training.objective
    counts = {id(each.batch): objective.counts(each.batch) for each in (*largest, typical)}
    with FakeTensorMode(allow_non_fake_inputs=True), _replaced(objective, "counts", lambda b: counts[id(b)]):
        # Fake parameters cannot be moved, and are on their device already.
        with _replaced(nn.Module, "to", lambda module, *_, **__: module):
            updates = trial.updates(torch.device("cpu"), precision)
        return _trace(updates, largest, typical, accumulates=accumulates)


@contextmanager
def _replaced(owner: object, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a method in the block."""
    had, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def _trace(updates: seqx.TrialUpdates, largest: Sequence[Any], typical: Any, *, accumulates: bool) -> Trace:
    with Recorder() as memory:
        strategy = updates.accumulation.strategy
        module, model = strategy.updated, strategy.model
        resident = {*_tensors(module), *_tensors(strategy.step)}
        memory.add(resident)
        updates.add_gradients(typical)
        gradients = _size(p.grad for p in module.parameters() if p.grad is not None)
        updates.step()
        flops, kernels, memory.peak = memory.flops, memory.operations, 0
        if accumulates:
            updates.add_gradients(typical)  # the next ones add to its gradients
        for number, microbatch in enumerate(largest, 1):
            updates.add_gradients(microbatch)
            if not accumulates or number == len(largest):
                updates.step()
        weights = _size(resident)
        optimizer = _size(
            value
            for state in updates.optimizer.state.values()
            for value in tree_leaves(state)
            if isinstance(value, Tensor)
        )
        return Trace(
            parts=_parts(model),
            weights=weights,
            gradients=gradients,
            optimizer=optimizer,
            activations=max(0, memory.peak - weights - gradients - optimizer),
            flops_per_token=flops / typical.padded_tokens,
            kernels=kernels,
            products=len(memory.products) / (1 + len(largest)),
        )


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _size(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors; those that share memory count once."""
    return sum({id(s): s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors)}.values())


def _parts(model: nn.Module) -> Mapping[str, int]:
    """Return the number of parameters of each part of a model; shared parameters count in the first part."""
    seen = set[int]()
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        path = name.split(".")
        part = ".".join(path[: max(1, min(2, len(path) - 1))]) if path[0] == "inner" else path[0]
        if id(parameter) not in seen:
            seen.add(id(parameter))
            parts[part] = parts.get(part, 0) + parameter.numel()
    return parts
