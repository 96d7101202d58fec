"""An epoch is planned: each example once, full updates, similar lengths, and reproducibly."""

import hashlib
import time
import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqx.data.plan import Plan, plan

lengths = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=120)


def planned(pairs: list[tuple[int, int]], tokens: int, groups: int, seed: int = 1, epoch: int = 0) -> Plan:
    source, target = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
    return plan({"source": source, "target": target}, tokens=tokens, groups=groups, seed=seed, epoch=epoch)


@settings(max_examples=150, deadline=None)
@given(pairs=lengths, tokens=st.integers(1, 200), groups=st.integers(1, 5), epoch=st.integers(0, 3))
def test_plan_has_each_example_once_and_no_update_too_large(
    pairs: list[tuple[int, int]], tokens: int, groups: int, epoch: int
) -> None:
    epoch_plan = planned(pairs, tokens, groups, epoch=epoch)
    updates = [epoch_plan.example_groups(i) for i in range(len(epoch_plan))]
    assert sorted(np.concatenate([row for update in updates for row in update]).tolist()) == [
        *range(len(pairs))
    ]
    for index, update in enumerate(updates):
        count = sum(pairs[i][1] for group in update for i in group)
        assert epoch_plan.num_target_tokens(index) == count
        assert 1 <= len(update) <= groups
        assert count <= tokens or sum(map(len, update)) == 1
        for group in update:
            assert sum(pairs[i][1] for i in group) <= max(1, tokens // groups) or len(group) == 1


@settings(max_examples=50, deadline=None)
@given(pairs=lengths, tokens=st.integers(1, 200), groups=st.integers(1, 5))
def test_largest_update_has_the_group_with_the_most_padded_tokens(
    pairs: list[tuple[int, int]], tokens: int, groups: int
) -> None:
    epoch_plan = planned(pairs, tokens, groups)

    def padded_tokens(index: int) -> int:
        return max(
            len(group) * (max(pairs[i][0] for i in group) + max(pairs[i][1] for i in group))
            for group in epoch_plan.example_groups(index)
        )

    assert padded_tokens(epoch_plan.largest) == max(map(padded_tokens, range(len(epoch_plan))))


def corpus(size: int, seed: int = 0) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    """Return random lengths like those of news text: log-normal, and correlated between the columns."""
    rng = np.random.default_rng(seed)
    source = rng.lognormal(3.2, 0.6, size).clip(1, 250)
    target = (source * rng.lognormal(0, 0.2, size)).clip(1, 250)
    return {"source": source.astype(np.int32) + 1, "target": target.astype(np.int32) + 1}


def test_planned_updates_are_full_and_hold_similar_lengths() -> None:
    columns = corpus(100_000)
    for groups in (1, 4):
        epoch_plan = plan(columns, tokens=25_000, groups=groups, seed=1, epoch=0)
        counts = np.array([epoch_plan.num_target_tokens(i) for i in range(len(epoch_plan))])
        assert np.median(counts) > (0.995 if groups == 1 else 0.98) * 25_000
        assert (counts < 0.95 * 25_000).sum() <= 2 + 0.02 * len(epoch_plan)
        rows = [group for i in range(len(epoch_plan)) for group in epoch_plan.example_groups(i)]
        padded_tokens = sum(
            len(group) * int(columns[name][group].max()) for group in rows for name in columns
        )
        tokens = sum(int(column.sum()) for column in columns.values())
        assert tokens / padded_tokens > 0.85


def test_plan_is_the_same_in_all_versions() -> None:
    """A run that resumes with a later version of seqx continues with the same updates."""
    columns = {
        name: np.arange(1, 2001, dtype=np.int32) * factor % 83 + 1
        for name, factor in (("source", 7), ("target", 11))
    }
    epoch_plan = plan(columns, tokens=500, groups=3, seed=5, epoch=2)
    parts = (
        epoch_plan.order.astype(np.int64),
        epoch_plan.groups.astype(np.int64),
        epoch_plan.updates.astype(np.int64),
    )
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    assert digest == "95251d5fbcc6e9a2d02ca91ec456f5ee0f1575cc7260225d1b9f3ec481df99b7"


def test_plans_of_other_epochs_and_seeds_differ() -> None:
    columns = corpus(3000)
    first, *others = (
        plan(columns, tokens=2000, groups=1, seed=seed, epoch=epoch).order.tolist()
        for seed, epoch in ((1, 0), (1, 1), (2, 0), (-1, 0))
    )
    assert all(first != other for other in others)


def test_planning_a_million_examples_is_fast() -> None:
    columns = corpus(1_000_000)
    tracemalloc.start()
    start = time.process_time()
    plan(columns, tokens=25_000, groups=1, seed=1, epoch=0)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 100 * 2**20
