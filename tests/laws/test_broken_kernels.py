"""For each law of kernels, a faulty kernel breaks this law and no other."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

import seqx
import seqx_transformer.testing
from seqx.testing import laws_of
from seqx_transformer import Eager, HeadInputs, Kernel
from tests.laws.conftest import Broken

assert seqx_transformer.testing.H  # the module is imported to register its laws


class Correct(Kernel):
    """A kernel that obeys all laws except the one named by `fault`."""

    fault: ClassVar[str] = ""

    def limitation(self, inputs: HeadInputs) -> str | None:
        return "no positional term" if inputs.positional is not None else None

    def __call__(self, inputs: HeadInputs) -> Tensor:
        match self.fault:
            case "outputs_equal_those_of_eager" if inputs.mask.window is not None:
                inputs = inputs._replace(mask=seqx.Mask(inputs.mask.causal, inputs.mask.window + 1))
            case "outputs_without_visible_keys_are_finite" if inputs.mask.allowed is not None:
                visible = inputs.mask.dense(inputs.positioned.layout, inputs.memory.layout)
                inputs = inputs._replace(positional=torch.where(visible, 0.0, -torch.inf))
            case "gradients_equal_those_of_eager":
                inputs = inputs._replace(queries=inputs.queries.detach())
            case "other_scores_and_value_terms_are_applied_or_rejected":
                inputs = inputs._replace(scores=None)
            case "dropout_is_applied_or_rejected":
                inputs = inputs._replace(dropout=inputs.dropout.eval())
            case "shared_masks_do_not_change_outputs" if inputs.mask.shared is not None:
                inputs = inputs._replace(mask=seqx.Mask(causal=True))
        return Eager()(inputs)


LAWS = [getattr(law, "__name__", "") for law in laws_of(Kernel) if law not in laws_of(object)]


def test_kernel_without_fault_obeys_all_laws(broken: Broken) -> None:
    assert broken(Kernel, Correct) == set()


@pytest.mark.parametrize("law", LAWS)
def test_faulty_kernel_breaks_only_its_law(broken: Broken, law: str) -> None:
    assert broken(Kernel, type("Broken", (Correct,), {"fault": law, "__doc__": "Broken."})) == {law}
