"""A pause of a process counts neither as its work nor as silence of other processes."""

import pytest
from torch._C._distributed_c10d import TCPStore

from seqx.parallel import World
from seqx.parallel.clock import PAUSE, Clock, Silence
from seqx.parallel.heartbeat import HANG_AFTER_S, UPDATE, Heartbeat
from seqx.parallel.mailbox import DEAD_AFTER_S, Mailbox
from seqx.parallel.stragglers import Stragglers

pytestmark = pytest.mark.promise("suspended-processes")


class Hands:
    """A simulated clock."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_the_clock_stops_during_a_pause(hands: Hands) -> None:
    clock = Clock(hands)
    began = clock()
    for seconds, counted in ((1, 1), (PAUSE, 1 + PAUSE), (60, 1 + PAUSE), (2, 3 + PAUSE)):
        hands.now += seconds
        assert clock() - began == counted


def test_silence_restarts_at_zero_after_a_pause(hands: Hands) -> None:
    silence = Silence(hands)
    assert silence.seconds(1) == 0
    for _ in range(10):
        hands.now += 1
        found = silence.seconds(1)
    assert found == 10
    hands.now += 60  # suspended, as the other one, which gets 12 s to come back
    assert silence.seconds(1) == 0
    for _ in range(11):
        hands.now += 1
        found = silence.seconds(1)
    assert found == 11 < DEAD_AFTER_S
    hands.now += 1
    assert silence.seconds(2) == 0


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def heartbeat(store: TCPStore, hands: Hands) -> Heartbeat:
    found = Heartbeat(Mailbox(store, 0, 2))
    found.clock = Clock(hands)
    found.enter_stage(UPDATE)
    found.enter_stage(UPDATE)  # one update has ended, and limits the next one
    return found


def told(heartbeat: Heartbeat, hands: Hands, seconds: int) -> tuple[float, float | None]:
    """Return the last sign of the process after so many beats."""
    for _ in range(seconds):
        hands.now += 1
        heartbeat._beat()
    sign = heartbeat.mailbox.beat(0)
    assert sign is not None
    return sign.since, sign.limit


def test_a_process_that_was_suspended_does_not_hang(heartbeat: Heartbeat, hands: Hands) -> None:
    hands.now += 300
    assert told(heartbeat, hands, 1) == (0, HANG_AFTER_S)
    assert told(heartbeat, hands, 20) == (20, HANG_AFTER_S)


def test_an_update_with_a_pause_does_not_raise_the_limit_for_hangs(
    heartbeat: Heartbeat, hands: Hands
) -> None:
    told(heartbeat, hands, 3)
    hands.now += 300
    heartbeat.enter_stage(UPDATE)
    assert told(heartbeat, hands, 1) == (1, 30)  # ten times the 3 s


def test_a_process_that_was_suspended_is_no_straggler(heartbeat: Heartbeat, hands: Hands) -> None:
    stragglers = Stragglers(World(0, 2, heartbeat=heartbeat))
    stragglers.update_started()
    hands.now += 2
    heartbeat._beat()
    hands.now += 300
    stragglers.part_done()
    assert stragglers.data_ready() == 2
