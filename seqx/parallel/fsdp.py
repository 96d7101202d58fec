"""Sharded data parallelism: all ranks share weights, gradients and optimizer state (torch's FSDP2).

Zhao et al. 2023 (arXiv:2304.11277); Rajbhandari et al. 2020 (arXiv:1910.02054), section 5.
"""

import contextlib
import copy
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from seqx.errors import UserError
from seqx.interfaces.networks import Attention, Model
from seqx.interfaces.tensors import Batch, Layers
from seqx.parallel.parallelism import Parallelism, Step
from seqx.parallel.process_group import World
from seqx.parallel.stragglers import Stragglers

GATHERED_BYTES = 64 * 2**20  # size of the whole tensors, in bytes, that are gathered in one call


class FSDP(Parallelism):
    """Sharded data parallelism: each rank keeps a shard of the model, and gathers weights when it needs them.

    All ranks run the same number of microbatches, because each pass needs the shards of all ranks. A whole
    copy of the model is validated and saved; it is in the memory of the CPU while it is not used.

    Args:
        reshard_after_forward: gather the weights of one layer at a time, and free them after each pass;
            false: gather all weights, and free them after the update
        gather: the precision in which weights are gathered and used; shards, gradients that are added up, and
            the optimizer state are fp32 in any case

    Raises:
        UserError: in the forward pass, if a layer is called several times per batch with
            `reshard_after_forward`
    """

    model_is_current = False
    shards_parameters = True

    def __init__(
        self, *, reshard_after_forward: bool = True, gather: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        self.reshard_after_forward = reshard_after_forward
        dtype = torch.bfloat16 if gather == "bf16" else None
        self._policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)

    def setup(self, step: Step, world: World, device: torch.device) -> None:
        """Shard the model; the shard of this rank is moved to its device."""
        self.step, self.world, self.device = step, world, device
        self.stragglers = Stragglers(world)
        world.expect_lockstep()
        self._full_model = copy.deepcopy(step.model)  # with requires_grad, as in `Average`
        self._num_microbatches = 0
        mesh = init_device_mesh(device.type, (world.size,))
        called = set[nn.Module]()
        units = _units(step)
        if self.reshard_after_forward:
            step.register_forward_pre_hook(lambda *_: called.clear())
            for module in units:
                module.register_forward_pre_hook(partial(_check_called_once, called))
        for module in (*units, step) if self.reshard_after_forward else (step,):
            sharded = fully_shard(module, mesh=mesh, mp_policy=self._policy)
            if isinstance(module, Attention):
                register_fsdp_forward_method(module, "project")
                register_fsdp_forward_method(module, "project_self")
            # Add up gradients instead of averaging them: the sums are divided by global counts already.
            sharded.set_force_sum_reduction_for_comms(enable=True)
            sharded.set_gradient_divide_factor(1.0)

    @property
    def model(self) -> Model:
        """The whole model, as it was after the last `gather_full_model`."""
        return self._full_model

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Clip the gradient to a norm of `max_norm`; return the norm before."""
        return _full_tensor(super().clip_grad_norm(max_norm))

    def global_counts(self, batches: Sequence[Batch]) -> Counter[str]:
        """Return the counts over all ranks, given this rank's batches (collective)."""
        counts, self._num_microbatches = self.gather_counts(batches)
        return counts

    def num_microbatches(self, own: int) -> int:
        """Return the largest number of microbatches that any rank has, which all ranks must run."""
        del own
        return self._num_microbatches

    def abort_update(self, *, sync: bool) -> None:
        """Fail: each pass of the other ranks needs the shard of this one.

        Raises:
            OutOfMemoryError: always
        """
        raise torch.OutOfMemoryError

    @contextlib.contextmanager
    def gradient_sync(self, *, last: bool) -> Iterator[None]:
        """Return the context of one microbatch; gradients of all ranks are added up in each of them."""
        del last
        with warnings.catch_warnings():
            # `Attention.project` returns views. FSDP2 warns of changes in place, but no code makes any.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
            yield

    @torch.no_grad()
    def gather_full_model(self) -> None:
        """Copy the trained weights of all ranks into the whole model (collective)."""
        full, trained = zip(*self._pairs(), strict=True)
        for tensor, gathered in zip(full, _full_tensors(trained), strict=True):
            tensor.copy_(gathered)

    @torch.no_grad()
    def load_full_model(self) -> None:
        """Copy this rank's shards of the whole model into the module that is trained."""
        for tensor, shard in self._pairs():
            shard.copy_(_shard(tensor, shard))

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter and buffer of the whole model with its counterpart in the sharded model."""
        full = dict(self._full_model.named_parameters()) | dict(self._full_model.named_buffers())
        for name, shard in (*self.step.model.named_parameters(), *self.step.model.named_buffers()):
            yield full[name], shard

    def full_state_dict(self, state: Any) -> Any:
        """Return nested states with whole tensors, in the memory of the CPU (collective).

        Only rank 0 keeps the tensors; the states of the other ranks have None in their place.
        """
        shards: list[Tensor] = []
        _replace_shards(state, shards.append)
        gathered = _full_tensors(shards)

        def whole(_: DTensor) -> Tensor | None:
            tensor = next(gathered)
            return tensor.cpu() if self.world.is_rank_zero else None

        return _replace_shards(state, whole)

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Load this rank's shards of a state with whole tensors into the optimizer."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        shards = {
            number: {
                name: _shard(value, parameters[number])
                if isinstance(value, Tensor) and value.shape == parameters[number].shape
                else value
                for name, value in values.items()
            }
            for number, values in state["state"].items()
        }
        self.optimizer.load_state_dict({**state, "state": shards})

    def load_device(self) -> torch.device:
        """Return the CPU: a checkpoint's tensors are whole, and may not fit on the device."""
        return torch.device("cpu")

    @contextlib.contextmanager
    def model_on_device(self) -> Iterator[None]:
        """Move the whole model to the device for the block."""
        self._full_model.to(self.device)
        try:
            yield
        finally:
            self._full_model.to("cpu")


def _check_called_once(called: set[nn.Module], module: nn.Module, _: object) -> None:
    """Refuse a second call in a batch: a rank would hang in a call that other ranks do not make."""
    if module in called:
        raise UserError(
            f"training.parallel: {type(module).__name__} is called several times per batch, and fsdp gathers "
            "its weights once; set training.parallel: {type: fsdp, reshard_after_forward: false}"
        )
    called.add(module)


def _units(step: Step) -> list[nn.Module]:
    """Return the modules whose parameters are gathered together, inner modules first.

    Attentions are units of their own, because a decoder calls `Attention.project` before its layers.
    """
    modules = list(step.modules())
    attentions = [module for module in modules if isinstance(module, Attention)]
    layers = (layer for module in modules if isinstance(module, Layers) for layer in module)
    return [*attentions, *dict.fromkeys(layers)]


def _replace_shards(state: Any, replace: Callable[[DTensor], Any]) -> Any:
    """Replace each sharded tensor of nested states."""
    match state:
        case DTensor():
            return replace(state)
        case Mapping():
            return {key: _replace_shards(value, replace) for key, value in state.items()}
        case list() | tuple():
            return type(state)(_replace_shards(value, replace) for value in state)
        case _:
            return state


def _full_tensor(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _full_tensors(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield each tensor as a whole (collective). Consecutive shards are gathered together."""
    ends = itertools.accumulate(tensor.numel() * tensor.element_size() for tensor in tensors)
    numbers = [end // GATHERED_BYTES for end in ends]
    groups = itertools.groupby(
        zip(tensors, numbers, strict=True), lambda pair: (_mesh_and_dtype(pair[0]), pair[1])
    )
    for (is_sharded, _), pairs in groups:
        group = [tensor for tensor, _ in pairs]
        yield from _gather(cast("list[DTensor]", group)) if is_sharded else map(_full_tensor, group)


def _mesh_and_dtype(tensor: Tensor) -> tuple[DeviceMesh, torch.dtype] | None:
    """Return the mesh and the dtype of a tensor whose rows are divided between ranks; None for others."""
    if isinstance(tensor, DTensor) and tensor.placements == (Shard(0),):
        return tensor.device_mesh, tensor.dtype
    return None


def _gather(shards: Sequence[DTensor]) -> Iterator[Tensor]:
    """Yield whole tensors of one mesh and dtype, gathered in one call (collective)."""
    mesh = shards[0].device_mesh
    # Each rank has as many rows as rank 0, except the last ranks, which may have fewer.
    rows = [-(-len(shard) // mesh.size()) for shard in shards]
    lengths = [count * math.prod(shard.shape[1:]) for count, shard in zip(rows, shards, strict=True)]
    local = [shard.to_local().detach().flatten() for shard in shards]
    padded = [F.pad(part, (0, length - len(part))) for part, length in zip(local, lengths, strict=True)]
    gathered = DTensor.from_local(torch.cat(padded)[None], mesh, (Shard(0),)).full_tensor()
    parts = gathered.split(lengths, dim=1)  # type: ignore[no-untyped-call]
    for shard, count, part in zip(shards, rows, parts, strict=True):
        yield part.reshape(mesh.size() * count, *shard.shape[1:])[: len(shard)]


def _shard(full: Tensor, like: Tensor) -> Tensor:
    """Return this rank's shard of a tensor that all ranks have, sharded as `like` is."""
    if not isinstance(like, DTensor):
        return full
    full = full.to(like.device, like.dtype)
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)
