"""Laws of the slots in which a search decodes sentences.

Letters in shapes: B sentences, K hypotheses of each, N = B * K, T target tokens, V symbols.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seqx.interfaces.networks import Generator
from seqx.interfaces.slots import Slots
from seqx.interfaces.tensors import BOS, rows
from seqx.testing.checks import assert_close
from seqx.testing.law import Subject, law
from seqx.testing.samples import SIZE, SIZES, SOURCE, B, T

K = 3
ALL = range(B)
LAST = T - 1
# [B, K, T] tokens of each hypothesis, BOS first
WRITTEN = F.pad(
    torch.randint(4, SIZE, (B, K, LAST), generator=torch.Generator().manual_seed(6)), (1, 0), value=BOS
)
PARENTS = torch.tensor([[2, 0, 0], [1, 2, 0], [0, 0, 0], [2, 2, 1]])


def _slots(model: Generator, sentences: Sequence[int]) -> Slots:
    """Return slots with some sentences of the sample."""
    return model.slots(_memory(model, sentences), len(sentences), K, T)


def _memory(model: Generator, sentences: Sequence[int]) -> object:
    return model.encode(rows(SOURCE, torch.tensor(sentences)))


def _step(slots: Slots, ids: Tensor) -> Tensor:
    """Advance by tokens [A, K]; return the logits [A, K, V]."""
    logits = slots.step(ids.flatten())
    assert len(logits) == ids.numel(), f"step: return {ids.numel()} rows of logits [N, V], not {len(logits)}"
    return logits.view(*ids.shape, -1)


def _write(slots: Slots, ids: Tensor) -> Tensor:
    """Advance by tokens [A, K, T] one after the other; return the last logits [A, K, V]."""
    return [_step(slots, token) for token in ids.unbind(2)][-1]


@law(Generator)
def slots_agree_with_advance(subject: Subject) -> None:
    """The logits of slots are those of `advance`."""
    model = subject.build(SIZES)
    slots = _slots(model, ALL)
    assert slots.occupied == [*ALL], f"new slots are all occupied, but these are: {slots.occupied}"
    state = model.start(_memory(model, ALL), T)
    expected = model.head(model.advance(WRITTEN[:, 0], state, None)[0])
    for t in range(T):
        logits = _step(slots, WRITTEN[:, :1, t].expand(B, K))
        assert_close(
            logits,
            expected[:, None, t].expand(B, K, -1),
            f"step: the logits after {t + 1} tokens differ from those of `advance`; return those of the next "
            "token, the slots in ascending order and their hypotheses next to each other",
        )


@law(Generator)
def slots_do_not_influence_each_other(subject: Subject) -> None:
    """A sentence gets the same logits alone as beside others, also after others were released."""
    model = subject.build(SIZES)
    slots, single = _slots(model, ALL), _slots(model, [2])
    _write(slots, WRITTEN[..., :2])
    assert_close(
        _step(slots, WRITTEN[..., 2])[2:3],
        _write(single, WRITTEN[2:3, :, :3]),
        "step: the logits of a sentence depend on the sentences in other slots; keep the state per slot",
    )
    slots.release([0, 1, 3])
    assert slots.occupied == [2], f"all slots except 2 were released, but occupied are: {slots.occupied}"
    assert_close(
        _step(slots, WRITTEN[2:3, :, 3]),
        _step(single, WRITTEN[2:3, :, 3]),
        "release: the other slots have other logits afterwards; keep their state, and return only their rows",
    )


@law(Generator)
def hypotheses_of_a_slot_can_be_reordered(subject: Subject) -> None:
    """Hypotheses can be reordered, repeated and omitted within their slot, also before a slot is released."""
    model = subject.build(SIZES)
    slots, others = _slots(model, ALL), [0, 2, 3]
    _write(slots, WRITTEN[..., :3])
    slots.reorder(PARENTS)
    slots.release([1])
    reordered = WRITTEN[..., :3].gather(1, PARENTS[..., None].expand(B, K, 3))
    expected = _write(_slots(model, ALL), torch.cat([reordered, WRITTEN[..., 3:4]], 2))
    assert_close(
        _step(slots, WRITTEN[others, :, 3]),
        expected[others],
        "reorder: a hypothesis does not continue the one that `parents` names. `parents` [A, K] counts "
        "within a slot, and a slot that is released next does not change the parents of the others",
    )


@law(Generator)
def released_slots_can_be_refilled(subject: Subject) -> None:
    """A sentence in a refilled slot gets the same logits as in new slots, and the others continue."""
    model = subject.build(SIZES)
    slots, unchanged, fresh = _slots(model, ALL), _slots(model, ALL), _slots(model, [0, 2, 2, 0])
    _write(slots, WRITTEN[..., :2])
    _write(unchanged, WRITTEN[..., :2])
    slots.release([3, 1])
    slots.fill([3, 1], _memory(model, [0, 2]))
    assert slots.occupied == [*ALL], f"all slots are filled again, but occupied are: {slots.occupied}"
    for t in range(2):
        ids = WRITTEN[..., 2 + t].clone()
        ids[[1, 3]] = WRITTEN[[1, 3], :, t]
        logits = _step(slots, ids)
        assert_close(
            logits[[1, 3]],
            _step(fresh, WRITTEN[..., t])[[1, 3]],
            "fill: a sentence in a refilled slot has other logits than in a new slot; reset all that the "
            "slot keeps, such as positions and lengths, and put memory i into slot `slots[i]`",
        )
        assert_close(
            logits[[0, 2]],
            _step(unchanged, WRITTEN[..., 2 + t])[[0, 2]],
            "fill: the other slots have other logits afterwards; change the filled slots only",
        )
        slots.reorder(PARENTS)
        fresh.reorder(PARENTS)
        unchanged.reorder(PARENTS)
