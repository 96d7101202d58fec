"""The time that counts when looking for stragglers."""

import pytest

from seqx.parallel import SINGLE_PROCESS
from seqx.parallel.stragglers import Stragglers

pytestmark = pytest.mark.promise("straggler-is-named")


def test_straggler_time_excludes_waiting_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("seqx.parallel.process_group.time.monotonic", lambda: now)
    stragglers = Stragglers(SINGLE_PROCESS)
    stragglers.update_started()
    now += 1  # batches
    stragglers.data_ready()
    now += 10  # until the others have theirs
    stragglers.record([0.0])
    now += 2
    with stragglers.waiting():
        now += 10
    now += 4
    stragglers.part_done()
    now += 10  # the gradients of others
    with stragglers.waiting():
        now += 10
    stragglers.update_started()
    now += 8
    assert stragglers.data_ready() == 1 + 2 + 4
