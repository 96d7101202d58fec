"""The mailbox of heartbeats, in a store that a launcher keeps over several launches."""

import itertools

import pytest
from torch._C._distributed_c10d import TCPStore

from seqx.parallel.mailbox import Beat, Mailbox, Verdict

pytestmark = pytest.mark.promise("restarts-by-torchrun")

BEAT = Beat(1, "starting", 0.0, None, "host", 1, "0")


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_ranks_of_one_launch_share_a_mailbox(store: TCPStore, order: tuple[int, ...]) -> None:
    """The order of the ranks does not matter, nor does a missing verdict of the previous launch."""
    for launch in range(3):
        mailboxes = []
        for rank in order:
            mailboxes.append(Mailbox.of_this_launch(store, rank, 3))
            mailboxes[-1].send(BEAT)
        assert [mailbox.launch for mailbox in mailboxes] == [launch] * 3
        if launch == 0:
            mailboxes[0].claim(Verdict(order[0], 71, None))


def test_a_rank_that_joined_an_earlier_launch_sees_its_end(store: TCPStore) -> None:
    """If a rank dies before its first heartbeat, its successor joins the launch that has already ended."""
    early = Mailbox.of_this_launch(store, 0, 2)
    early.send(BEAT)
    late = Mailbox.of_this_launch(store, 1, 2)
    assert (late.launch, late.verdict()) == (0, None)
    assert Mailbox.of_this_launch(store, 0, 2).launch == 1
    assert late.verdict() == Verdict(0, 1, None)
