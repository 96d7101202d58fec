"""Settings with which a run fits into memory or into a budget; each proposal is planned and checked."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import seqx
from seqx_plan.planner import Plan, Planner

MIN_UPDATES = 100
"""The smallest number of updates that a proposal for a budget has."""

VALIDATION_SHARE = 0.25
"""The largest share of a budget that validations take."""

CHECKPOINT_SHARE = 0.1
"""The largest share of a budget that checkpoints take."""

SAFETY = 0.95
"""The share of the memory or of the budget that a proposal uses."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Overrides of a recipe, and the plan with them."""

    overrides: Sequence[str]
    plan: Plan

    def command(self, planner: Planner) -> str:
        """Return the command that runs the proposal."""
        profile = ["--profile", planner.profile] if planner.profile else []
        devices = ["--devices", str(planner.target.devices)] if planner.target.devices > 1 else []
        return shlex.join(
            ["seqx", "run", planner.argument, *profile, *devices, *planner.overrides, *self.overrides]
        )


def seconds_of(budget: str) -> float:
    """Return the seconds of a text such as 30m, 1h30m or 2d.

    Raises:
        UserError: the text is not a duration
    """
    parts = _BUDGET.findall(budget)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds or _BUDGET.sub("", budget).strip():
        raise seqx.UserError(
            f"--budget {budget}: not a duration; write a number with s, m, h or d, such as 30m or 1h30m"
        )
    return seconds


def fitting_proposals(planner: Planner, plan: Plan) -> list[Proposal]:
    """Return proposals with which a run that is too large fits into memory."""
    return [*_with_microbatch(planner, plan), *_with_sharding(planner, plan)]


def _with_microbatch(planner: Planner, plan: Plan) -> Iterator[Proposal]:
    """Yield the run with smaller microbatches, if that suffices."""
    used, size = plan.memory, plan.microbatch
    assert used.available is not None, "the plan does not fit"
    for _ in range(4):
        tensors = used.weights + used.gradients + used.optimizer + used.activations
        free = used.available * SAFETY - used.process - used.scoring  # for tensors and the overhead
        share = (free * tensors / (tensors + used.overhead) - tensors) / used.activations + 1
        if share <= 0:
            return
        size = max(1, int(size * min(0.9, share)))
        size = 1 << (size.bit_length() - 1)
        overrides = [f"training.microbatch={size}"]
        changed = planner.plan(overrides)
        if changed.memory.fits:
            yield Proposal(overrides=overrides, plan=changed)
            return
        if changed.memory.activations >= used.activations:  # a single row is too large
            return
        used = changed.memory


def _with_sharding(planner: Planner, plan: Plan) -> Iterator[Proposal]:
    """Yield the run with sharded parameters, if it has several devices and does not shard them yet."""
    if planner.target.devices > 1 and not plan.is_sharded:
        overrides = ["training.parallel=fsdp"]
        try:
            changed = planner.plan(overrides)
        except seqx.RecipeError:  # the optimizer cannot update shards
            return
        if changed.memory.fits:
            yield Proposal(overrides=overrides, plan=changed)


def within_budget(planner: Planner, plan: Plan, budget: float) -> Proposal | None:
    """Return the longest run within a budget of seconds, with a scaled schedule; None if the plan fits.

    Raises:
        UserError: the budget is too small
    """
    if plan.duration.total <= budget:
        return None
    work, planned = plan.workload, plan.duration
    update = planned.updates / plan.steps
    validation = work.dev_rows * plan.speed.row_seconds + work.dev_read_seconds
    final = planned.validations - (planned.evaluations - 1) * validation
    planned_saves = -(-plan.steps // plan.settings["save_every"])
    save = planned.checkpoints / planned_saves

    def steps_with(validations: int, saves: int) -> int:
        return int((SAFETY * budget - final - validations * validation - saves * save) / update)

    validations = _count(planned.evaluations - 1, VALIDATION_SHARE * budget, validation)
    saves = min(validations * plan.settings["keep_checkpoints"], planned_saves)
    saves = _count(saves, CHECKPOINT_SHARE * budget, save)
    if steps_with(validations, saves) < MIN_UPDATES:
        validations = saves = 1
    steps = steps_with(validations, saves)
    if steps < MIN_UPDATES:
        least = (MIN_UPDATES * update + final + validation + save) / SAFETY
        raise seqx.UserError(
            f"--budget: {seqx.format_duration(budget)} is too short; the shortest proposal takes "
            f"{seqx.format_duration(least)}: {MIN_UPDATES} updates of {update:,.2f} s, a validation of "
            f"{validation:,.2f} s, the scores at the end {final:,.2f} s, a checkpoint {save:,.2f} s. Allow "
            "more time, or make the model, training.tokens or the development set smaller"
            f" ({plan.speed.source})"
        )
    overrides = _scaled(plan, steps, validations, saves)
    return Proposal(overrides=overrides, plan=planner.plan(overrides, same_updates=True))


def _count(planned: int, seconds: float, each: float) -> int:
    """Return the planned number of events, or the number that fits into `seconds`; at least 1."""
    return max(1, min(planned, int(seconds / max(each, 1e-9))))


def _scaled(plan: Plan, steps: int, validations: int, saves: int) -> list[str]:
    """Return the overrides of a run with fewer updates, whose intervals and warm-up shrink with them."""
    overrides = [
        f"training.steps={steps}",
        f"training.validate_every={-(-steps // validations)}",
        f"training.save_every={-(-steps // saves)}",
    ]
    for name, value in plan.settings["schedule"].items():
        if isinstance(value, int) and not isinstance(value, bool):  # a number of updates, such as a warm-up
            overrides.append(f"training.schedule.{name}={max(1, round(value * steps / plan.steps))}")
    return overrides
