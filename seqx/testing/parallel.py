"""Laws of parallel strategies, which are checked on two ranks of this machine (gloo)."""

import torch
from torch import Tensor

from seqx.errors import OomRestartError
from seqx.parallel.heartbeat import BETWEEN_UPDATES, UPDATE
from seqx.parallel.parallelism import Parallelism
from seqx.testing import checks
from seqx.testing.law import Subject, law
from seqx.testing.parallel_training import (
    FAULTY_UPDATE,
    SAVED,
    UPDATES,
    Trained,
    microbatches_of,
    result_of,
    single_device,
)


def _differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """Return the names of parameters that are not the same, bit by bit."""
    return ", ".join(name for name in one if not torch.equal(one[name], other[name]))


def _check_same(one: Trained, other: Trained, when: str, *, first: int = 1) -> None:
    """Assert that two runs have the same updates from `first` on and the same model, bit by bit."""
    for number, (a, b) in enumerate(zip(one.updates, other.updates, strict=True), first):
        assert a == b, f"update {number} differs {when}: {a}, {b}"
    names = _differences(one.model, other.model)
    assert not names, f"the model differs {when}: {names}"


@law(Parallelism)
def equal_examples_train_like_one_device(subject: Subject) -> None:
    """If all ranks have the same examples, the model is that of one device with these examples.

    The law finds a wrong divisor of the loss, and gradients that are added up twice or not at all.
    """
    ranks = result_of(subject).ranks
    expected = single_device({number: microbatches_of(0, number) for number in range(1, UPDATES + 1)})
    for name, tensor in ranks[0].equal.model.items():
        assert torch.allclose(tensor, expected.model[name], rtol=1e-4, atol=1e-5), (
            f"{name} differs from training on one device; check the counts in `loss_counts`, and that "
            "gradients are added up over ranks if these are the counts of all ranks, or not exchanged if "
            "they are those of one rank"
        )


@law(Parallelism)
def sums_and_counts_are_those_of_all_ranks(subject: Subject) -> None:
    """The reported counts and sums of an update are added up over all ranks."""
    update = result_of(subject).ranks[0].plain.updates[0]
    expected = single_device({1: [*microbatches_of(0, 1), *microbatches_of(1, 1)]}).updates[0]
    assert update.counts == expected.counts, (
        f"`global_counts` returns {update.counts}; over all ranks the counts are {expected.counts}"
    )
    checks.assert_close(
        torch.tensor(update.loss),
        torch.tensor(expected.loss),
        "`reduce_sums` does not return the loss of the first update, added up over all ranks",
    )


@law(Parallelism)
def all_ranks_report_the_same_numbers(subject: Subject) -> None:
    """Counts, sums and norms are equal on all ranks, because ranks decide by them to roll back or to stop."""
    first, second = (seen.plain.updates for seen in result_of(subject).ranks)
    for number, (one, other) in enumerate(zip(first, second, strict=True), 1):
        assert one == other, (
            f"update {number}: rank 0 has {one}, rank 1 has {other}; check `global_counts`, "
            "`reduce_sums` and `clip_grad_norm`"
        )


@law(Parallelism)
def enters_the_stages_of_each_update(subject: Subject) -> None:
    """`update_started` and `update_finished` enter a stage, by which seqx notices a rank that hangs."""
    for seen in result_of(subject).ranks:
        for method, stage in (("update_started", UPDATE), ("update_finished", BETWEEN_UPDATES)):
            assert seen.stages.count(stage) >= UPDATES, (
                f"`{method}` does not enter the stage {stage!r} in each update, so seqx cannot notice that "
                f"this rank hangs; call super().{method}() in it"
            )


@law(Parallelism)
def all_ranks_gather_the_same_model(subject: Subject) -> None:
    """After `gather_full_model`, `model` is the same on all ranks, and differs from the initial model."""
    ranks = result_of(subject).ranks
    names = _differences(ranks[0].plain.model, ranks[1].plain.model)
    assert not names, f"`gather_full_model` gives the ranks different models: {names}"
    initial = single_device({}).model
    same = [name for name, tensor in ranks[0].plain.model.items() if torch.equal(tensor, initial[name])]
    assert not same, f"`gather_full_model` does not copy trained weights: {', '.join(same)}"


@law(Parallelism)
def gathering_does_not_change_training(subject: Subject) -> None:
    """Validations after each update do not change the updates: `gather_full_model` only copies weights."""
    for seen in result_of(subject).ranks:
        _check_same(seen.gathered, seen.plain, "if `gather_full_model` is called after each update")


@law(Parallelism)
def resumes_with_the_same_updates(subject: Subject) -> None:
    """A run that resumes from a checkpoint makes the same updates on each rank, bit by bit."""
    for rank, seen in enumerate(result_of(subject).ranks):
        rest = Trained(seen.saved.updates[SAVED:], seen.saved.model)
        _check_same(
            seen.resumed,
            rest,
            f"on rank {rank} after resuming from update {SAVED}; check `rank_state` and `load_rank_states`",
            first=SAVED + 1,
        )


@law(Parallelism)
def refuses_states_of_other_runs(subject: Subject) -> None:
    """`load_rank_states` raises a UserError for states of other strategies, and no other error."""
    for seen in result_of(subject).ranks:
        other_number, other_strategy = seen.other_states
        assert other_number in ("", "UserError"), (
            f"states of another number of ranks raise {other_number}; raise a seqx.UserError that says what "
            "to do"
        )
        assert other_strategy == "UserError", (
            "`load_rank_states` does not refuse states of another strategy with a seqx.UserError "
            f"({other_strategy or 'it accepts them'})"
        )


@law(Parallelism)
def all_ranks_skip_a_nonfinite_update(subject: Subject) -> None:
    """If the loss is NaN on one rank, all ranks skip the update, and the weights stay finite."""
    for rank, seen in enumerate(result_of(subject).ranks):
        assert seen.not_finite.updates[FAULTY_UPDATE - 1].skipped, (
            f"the loss of rank 1 was NaN, and rank {rank} did not skip the update; check that `reduce_sums` "
            "or `clip_grad_norm` returns a number that is not finite on all ranks"
        )
        assert all(tensor.isfinite().all() for tensor in seen.not_finite.model.values()), (
            f"rank {rank} has weights that are not finite after a skipped update"
        )


@law(Parallelism)
def out_of_memory_on_one_rank_repeats_the_update(subject: Subject) -> None:
    """If a rank runs out of memory, the update is repeated in smaller microbatches, or all ranks restart."""
    result = result_of(subject)
    if result.codes == [OomRestartError.code] * 2:
        return
    assert result.codes == [0, 0], (
        f"after rank 1 ran out of memory, the ranks exited with {result.codes}; check `abort_update`, which "
        f"must let the other ranks continue, or raise torch.OutOfMemoryError: {' '.join(result.stderr)}"
    )
    for seen in result.ranks:
        for update, expected in zip(seen.oom.updates, seen.plain.updates, strict=True):
            assert update.counts == expected.counts, "the counts change after a rank ran out of memory"
            checks.assert_close(
                torch.tensor(update.loss),
                torch.tensor(expected.loss),
                "the losses change after a rank ran out of memory; check that all ranks repeat the update",
            )
