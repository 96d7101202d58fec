"""A step whose weights, gradients and optimizer state lie in shards on all devices (FSDP2).

Zhao et al. 2023 (arXiv:2304.11277); Rajbhandari et al. 2020 (arXiv:1910.02054), section 5.
"""

import contextlib
import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from seqx.errors import UserError
from seqx.interfaces.networks import Attention, Model
from seqx.interfaces.values import Batch, Layers
from seqx.parallel import World
from seqx.parallel.ddp import DistributedStrategy, added, shared_counts
from seqx.parallel.step import Step


class FSDP(DistributedStrategy):
    """A step of which every device keeps a share; a part of it is put together when it is computed.

    All devices compute as many parts, since each part needs what the others keep. What is validated and saved
    is a whole copy of the model, which lies in the memory of the CPU while it is not asked.

    Args:
        step: what is trained, on the CPU; what a device keeps of it is moved there
        world: the processes that share it
        device: of this process
        full: whether weights are given up again as soon as a layer is computed, and not after the update

    Raises:
        UserError: when called, if `full` and a layer is called several times a batch
    """

    def __init__(self, step: Step, world: World, device: torch.device, *, full: bool = True) -> None:
        super().__init__(step, world)
        world.expect_lockstep()
        self.device = device
        self._whole = copy.deepcopy(step.model)  # with requires_grad, as in `Average`
        self._most = 0
        mesh = init_device_mesh(device.type, (world.size,))
        called = set[nn.Module]()
        if full:
            step.register_forward_pre_hook(lambda *_: called.clear())
            for part in _units(step):
                part.register_forward_pre_hook(partial(_once, called))
        for part in (*_units(step), step) if full else (step,):
            sharded = fully_shard(part, mesh=mesh)
            if isinstance(part, Attention):
                register_fsdp_forward_method(part, "project")
            # Sums of gradients, not means: what is divided by is that of the whole update already.
            sharded.set_force_sum_reduction_for_comms(enable=True)
            sharded.set_gradient_divide_factor(1.0)

    @property
    def model(self) -> Model:
        """The whole model, as it was last collected."""
        return self._whole

    def clip_grad_norm(self, longest: float) -> Tensor:
        """Shorten the gradient to a norm of `longest`; returns the norm that it had."""
        return _whole(super().clip_grad_norm(longest))

    def global_counts(self, parts: Sequence[Batch]) -> Counter[str]:
        """The counts of all devices together."""
        counts, self._most = shared_counts(self.step, self.world, parts, self.stragglers)
        return counts

    def num_microbatches(self, parts: int) -> int:
        """As many as the device has that has most."""
        del parts
        return self._most

    def abort_update(self, *, exchange: bool) -> None:
        """Not possible: each part of the others needs what this device keeps.

        Raises:
            OutOfMemoryError: always
        """
        raise torch.OutOfMemoryError

    @contextlib.contextmanager
    def gradient_sync(self, *, last: bool) -> Iterator[None]:
        """Where a part is computed; what its gradients add up to is exchanged at once."""
        del last
        with warnings.catch_warnings():
            # Keys and values are views, which nobody changes in place.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
            yield

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all devices."""
        self.stragglers.handed_over()
        return added(self.world, sums)

    @torch.no_grad()
    def gather_full_model(self) -> None:
        """Make the whole model that which was trained."""
        whole = dict(self._whole.named_parameters()) | dict(self._whole.named_buffers())
        for name, tensor in (*self.step.model.named_parameters(), *self.step.model.named_buffers()):
            whole[name].copy_(_whole(tensor))

    @torch.no_grad()
    def load_full_model(self) -> None:
        """Train on from the whole model."""
        whole = dict(self._whole.named_parameters()) | dict(self._whole.named_buffers())
        for name, tensor in (*self.step.model.named_parameters(), *self.step.model.named_buffers()):
            tensor.copy_(_share(whole[name], tensor))

    def full_state_dict(self, state: Any) -> Any:
        """A nest of states whose tensors are whole, in the memory of the CPU."""
        match state:
            case DTensor():
                return _whole(state).cpu()
            case Mapping():
                return {key: self.full_state_dict(value) for key, value in state.items()}
            case list() | tuple():
                return type(state)(self.full_state_dict(value) for value in state)
            case _:
                return state

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Give an optimizer a state whose tensors are whole; a device keeps its share of them."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        shares = {
            number: {
                name: _share(value, parameters[number])
                if isinstance(value, Tensor) and value.shape == parameters[number].shape
                else value
                for name, value in held.items()
            }
            for number, held in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": shares})

    def load_device(self, device: torch.device) -> torch.device:
        """Where whole tensors are put when they are read."""
        del device
        return torch.device("cpu")

    @contextlib.contextmanager
    def model_on_device(self) -> Iterator[None]:
        """In the block the whole model lies on the device."""
        self._whole.to(self.device)
        try:
            yield
        finally:
            self._whole.to("cpu")


def _once(called: set[nn.Module], part: nn.Module, _: object) -> None:
    """Devices would wait for each other for ever if one called a part more often than the others."""
    if part in called:
        raise UserError(
            "training.sharding: full is for models that call each layer once a batch, and "
            f"{type(part).__name__} is called for each token; set sharding: state"
        )
    called.add(part)


def _units(step: Step) -> list[nn.Module]:
    """What is put together at a time, from the inside out.

    A decoder projects the source before its layers are called, so that attentions are units of their own.
    """
    parts = list(step.modules())
    attentions = [part for part in parts if isinstance(part, Attention)]
    return [
        *attentions,
        *dict.fromkeys(layer for part in parts if isinstance(part, Layers) for layer in part),
    ]


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _share(value: Tensor, like: Tensor) -> Tensor:
    """Of a tensor that all processes have, what this one keeps of one like `like`."""
    if not isinstance(like, DTensor):
        return value
    value = value.to(like.device, like.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
