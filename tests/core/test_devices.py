"""Devices: kernels that repeat to the bit."""

import pytest
import torch

from seqx.devices import deterministic
from seqx.errors import UserError


def test_deterministic_kernels_are_asked_for_and_given_up_again() -> None:
    with deterministic(wanted=False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_has_no_deterministic_kernel_is_told() -> None:
    said = "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_...'"
    with (
        pytest.raises(
            UserError, match=r"^training.deterministic: cumsum_cuda_kernel does not have [^,]*; set"
        ),
        deterministic(wanted=True),
    ):
        raise RuntimeError(said)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="other"), deterministic(wanted=True):
        raise RuntimeError("other")
