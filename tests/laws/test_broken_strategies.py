"""For each law of parallel strategies, a faulty local SGD breaks this law and no other."""

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import seqx
import seqx.testing
from seqx.testing import laws_of
from tests.laws.conftest import Broken

FILE = Path(__file__).parents[2] / "examples" / "seqx-local-sgd" / "seqx_local_sgd" / "__init__.py"


def _local_sgd() -> Any:
    """Return the strategy of the example, which need not be installed."""
    spec = importlib.util.spec_from_file_location("seqx_local_sgd", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LocalSGD


LocalSGD: Any = _local_sgd()


class CorrectStrategy(LocalSGD):  # type: ignore[misc]
    """A strategy that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__(every=2)

    def loss_counts(self, batches: Sequence[seqx.Batch], counts: Counter[str]) -> Counter[str]:
        wrong = self.fault == "equal_examples_train_like_one_device"
        return counts if wrong else super().loss_counts(batches, counts)

    def reduce_sums(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.fault == "all_ranks_skip_a_nonfinite_update":
            sums = {name: value.nan_to_num() for name, value in sums.items()}
        total: dict[str, Tensor] = super().reduce_sums(sums)
        mean = self.fault == "sums_and_counts_are_those_of_all_ranks"
        return {name: value / self.world.size for name, value in total.items()} if mean else total

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        match self.fault:
            case "all_ranks_report_the_same_numbers":
                return seqx.Parallelism.clip_grad_norm(self, max_norm)
            case "all_ranks_skip_a_nonfinite_update":
                return seqx.Parallelism.clip_grad_norm(self, max_norm) * 0 + 1
        return super().clip_grad_norm(max_norm)

    def gather_full_model(self) -> None:
        match self.fault:
            case "all_ranks_gather_the_same_model":
                self._mean.load_state_dict(self.step.model.state_dict())
                return
            case "gathering_does_not_change_training":
                self._average(self.step)
        super().gather_full_model()

    def update_finished(self) -> None:
        if self.fault != "enters_the_stages_of_each_update":
            super().update_finished()
            return
        self._updates: int = (self._updates + 1) % self.every
        if not self._updates:
            self._average(self.step)

    def rank_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().rank_state()
        return state | ({"updates": 0} if self.fault == "resumes_with_the_same_updates" else {})

    def load_rank_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        if self.fault == "refuses_states_of_other_runs" and "step" not in states[0]:
            return
        super().load_rank_states(states)

    def abort_update(self, *, sync: bool) -> None:
        super().abort_update(sync=sync)
        if self.fault == "out_of_memory_on_one_rank_repeats_the_update":
            raise RuntimeError("cannot repeat")


NOT_ONLY_OF_STRATEGIES = {law.__name__ for law in laws_of(object)}
LAWS = [law.__name__ for law in laws_of(seqx.Parallelism) if law.__name__ not in NOT_ONLY_OF_STRATEGIES]


def test_local_sgd_of_the_example_obeys_all_laws(broken: Broken) -> None:
    assert broken(seqx.Parallelism, CorrectStrategy) == set()


@pytest.mark.slow
@pytest.mark.parametrize("fault", LAWS)
def test_faulty_strategy_breaks_one_law(fault: str, broken: Broken) -> None:
    maker = type(f"Faulty{fault}", (CorrectStrategy,), {"fault": fault, "__doc__": "A faulty strategy."})
    assert broken(seqx.Parallelism, maker) == {fault}
