"""The measurement of the time that a rank takes for its part of an update."""

import pytest

from seqx.parallel import SINGLE_PROCESS
from seqx.parallel.stragglers import Stragglers

pytestmark = pytest.mark.promise("straggler-is-named")


def test_straggler_time_excludes_waiting_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("seqx.parallel.process_group.time.monotonic", lambda: now)
    stragglers = Stragglers(SINGLE_PROCESS)
    stragglers.update_started()
    now += 1  # fetching the batch
    stragglers.data_ready()
    now += 10  # waiting for the batches of other ranks
    stragglers.record([0.0])
    now += 2  # forward pass
    with stragglers.waiting():
        now += 10
    now += 4  # backward pass
    stragglers.part_done()
    now += 10  # waiting for gradients of other ranks
    with stragglers.waiting():
        now += 10
    stragglers.update_started()
    now += 8
    assert stragglers.data_ready() == 1 + 2 + 4
