"""Save and restore torch's random states."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqx.runtime.devices import uses_cuda


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the random states of the CPU and, if `device` is a GPU, of this GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the result of `random_state`. If it has no state of a GPU, the GPU keeps its own."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def all_random_states() -> dict[str, Tensor | list[Tensor]]:
    """Return the random states of the CPU and, if this process uses CUDA, of every GPU."""
    cuda = torch.cuda.get_rng_state_all() if uses_cuda() else []  # reading them would initialise CUDA
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_all_random_states(states: Mapping[str, Any]) -> None:
    """Restore the result of `all_random_states`."""
    torch.set_rng_state(states["cpu"].cpu())
    if uses_cuda():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state.cpu(), index)
