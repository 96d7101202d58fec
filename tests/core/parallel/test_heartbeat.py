"""What processes leave for each other in the store that a starter keeps, when it starts others after them."""

import itertools

import pytest
from torch._C._distributed_c10d import TCPStore

from seqx.parallel.heartbeat import Beat, Mailbox, Verdict

pytestmark = pytest.mark.promise("restarts-by-torchrun")

SIGN = Beat(1, "starting", 0.0, None, "host", 1, "0")


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_those_who_are_started_together_meet(store: TCPStore, order: tuple[int, ...]) -> None:
    """Whoever comes first, and whether or not those before them said how they ended."""
    for start in range(3):
        posts = []
        for rank in order:
            posts.append(Mailbox.of_this_launch(store, rank, 3))
            posts[-1].beat(SIGN)
        assert [post.launch for post in posts] == [start] * 3
        if start == 0:
            posts[0].claim(Verdict(order[0], 71, None))


def test_whoever_meets_one_of_an_earlier_start_hears_of_its_end(store: TCPStore) -> None:
    """One that was gone before its first sign cannot be known by the next of its number."""
    early = Mailbox.of_this_launch(store, 0, 2)
    early.beat(SIGN)
    late = Mailbox.of_this_launch(store, 1, 2)
    assert (late.launch, late.end()) == (0, None)
    assert Mailbox.of_this_launch(store, 0, 2).launch == 1
    assert late.end() == Verdict(0, 1, None)
