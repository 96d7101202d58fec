"""A pause of a process counts neither as work of this process nor as silence of another one."""

import pytest
from torch._C._distributed_c10d import TCPStore

from seqx.parallel import World
from seqx.parallel.clock import PAUSE, Clock, Silence
from seqx.parallel.heartbeat import HANG_AFTER_S, UPDATE, Heartbeat
from seqx.parallel.mailbox import DEAD_AFTER_S, Mailbox
from seqx.parallel.stragglers import Stragglers

pytestmark = pytest.mark.promise("suspended-processes")


class FakeTime:
    """A time in seconds that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


def test_the_clock_stops_during_a_pause(fake_time: FakeTime) -> None:
    clock = Clock(fake_time)
    began = clock()
    for seconds, counted in ((1, 1), (PAUSE, 1 + PAUSE), (60, 1 + PAUSE), (2, 3 + PAUSE)):
        fake_time.now += seconds
        assert clock() - began == counted


def test_silence_restarts_at_zero_after_a_pause(fake_time: FakeTime) -> None:
    silence = Silence(fake_time)
    assert silence.seconds(1) == 0
    for _ in range(10):
        fake_time.now += 1
        seconds = silence.seconds(1)
    assert seconds == 10
    fake_time.now += 60  # both processes were suspended; the other one has 12 s to continue
    assert silence.seconds(1) == 0
    for _ in range(11):
        fake_time.now += 1
        seconds = silence.seconds(1)
    assert seconds == 11 < DEAD_AFTER_S
    fake_time.now += 1
    assert silence.seconds(2) == 0


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.fixture
def heartbeat(store: TCPStore, fake_time: FakeTime) -> Heartbeat:
    result = Heartbeat(Mailbox(store, 0, 2))
    result.clock = Clock(fake_time)
    result.enter_stage(UPDATE)
    result.enter_stage(UPDATE)  # one update has ended, so that the next one has a limit
    return result


def work_and_limit(heartbeat: Heartbeat, fake_time: FakeTime, seconds: int) -> tuple[float, float | None]:
    """Send a heartbeat each second; return the seconds of work and the limit of the last one."""
    for _ in range(seconds):
        fake_time.now += 1
        heartbeat._beat()
    beat = heartbeat.mailbox.beat(0)
    assert beat is not None
    return beat.work_seconds, beat.limit


def test_a_process_that_was_suspended_does_not_hang(heartbeat: Heartbeat, fake_time: FakeTime) -> None:
    fake_time.now += 300
    assert work_and_limit(heartbeat, fake_time, 1) == (0, HANG_AFTER_S)
    assert work_and_limit(heartbeat, fake_time, 20) == (20, HANG_AFTER_S)


def test_an_update_with_a_pause_does_not_raise_the_limit_for_hangs(
    heartbeat: Heartbeat, fake_time: FakeTime
) -> None:
    work_and_limit(heartbeat, fake_time, 3)
    fake_time.now += 300
    heartbeat.enter_stage(UPDATE)
    assert work_and_limit(heartbeat, fake_time, 1) == (1, 30)  # ten times the 3 s


def test_a_process_that_was_suspended_is_no_straggler(heartbeat: Heartbeat, fake_time: FakeTime) -> None:
    stragglers = Stragglers(World(0, 2, heartbeat=heartbeat))
    stragglers.update_started()
    fake_time.now += 2
    heartbeat._beat()
    fake_time.now += 300
    stragglers.part_done()
    assert stragglers.data_ready() == 2
