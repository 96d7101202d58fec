"""The default slots: refilled slots with wider sources, and copies of the state."""

import torch
from torch import Tensor

import seqx
from tests.plugins.search.test_batches import SENTENCES, V, transformer
from tests.plugins.search.toy import Toy, sources

K, STEPS = 2, 6
IDS = torch.randint(4, V, (3, K, STEPS), generator=torch.Generator().manual_seed(1))
IDS[..., 0] = seqx.BOS


class Counted(tuple[Tensor]):  # noqa: SLOT001
    """A state that counts how often its rows are selected."""

    selections = 0

    def select(self, index: Tensor) -> "Counted":
        Counted.selections += 1
        return Counted((self[0][index],))

    def fork(self, n: int) -> "Counted":
        return Counted((self[0].repeat_interleave(n, 0),))


class CountingToy(Toy):
    """A model whose state counts how often its rows are selected."""

    def start(self, memory: seqx.State, capacity: int | None) -> seqx.State:
        return Counted((memory,))

    def advance(self, ids: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        return torch.stack([state[0], ids, ids], -1), state


def test_default_slots_copy_the_state_once_for_all_changes_between_two_steps() -> None:
    model = CountingToy()
    slots = model.slots(model.encode(sources([4], [5], [6])), 3, K, None)
    Counted.selections = 0
    slots.step(torch.full((3 * K,), seqx.BOS))
    slots.reorder(torch.tensor([[1, 0], [0, 0], [1, 1]]))
    slots.release([0])
    slots.release([2])
    logits = slots.step(torch.tensor([4, 5]))
    assert Counted.selections == 1
    torch.testing.assert_close(logits, model.table[5, [4, 5], [4, 5]])
    slots.release([1])
    assert slots.occupied == []


@torch.no_grad()
def test_refilled_slots_may_have_a_longer_source_than_the_others() -> None:
    model = transformer(1)
    short, long = SENTENCES[2], SENTENCES[1]

    def fresh(sentence: list[int]) -> seqx.Slots:
        return model.slots(model.encode(sources(sentence)), 1, K, STEPS)

    slots = model.slots(model.encode(sources(SENTENCES[0], short, SENTENCES[4])), 3, K, STEPS)
    before = fresh(SENTENCES[4])
    for t in range(2):
        slots.step(IDS[..., t].flatten())
        before.step(IDS[2, :, t])
    slots.release([0])
    slots.fill([0], model.encode(sources(long)))
    after = fresh(long)
    for t in range(STEPS - 2):
        ids = IDS[..., t + 2].clone()
        ids[0] = IDS[0, :, t]
        logits = slots.step(ids.flatten()).view(3, K, V)
        torch.testing.assert_close(logits[0], after.step(ids[0]), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits[2], before.step(ids[2]), rtol=1e-4, atol=1e-4)
        parents = torch.tensor([[1, 1], [0, 1], [1, 0]])
        slots.reorder(parents)
        after.reorder(parents[:1])
        before.reorder(parents[2:])
