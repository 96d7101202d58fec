"""The lines that `seqx plan` prints."""

from collections.abc import Iterator, Sequence

import seqx
from seqx_plan.planner import Plan, Planner
from seqx_plan.proposals import Proposal


def format_plan(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan."""
    yield f"recipe: {plan.recipe}"
    yield f"data: {plan.workload.source}"
    parts = ", ".join(f"{name} {count:,}" for name, count in plan.parameters.items())
    yield f"parameters: {sum(plan.parameters.values()):,} ({parts})"
    epochs = "" if plan.epochs is None else f", {plan.epochs:.3g} epochs"
    yield (
        f"updates: {plan.steps:,}{epochs}, each with {plan.workload.target_tokens:,.0f} target tokens and "
        f"{plan.flops_per_update / 1e12:.3g} TFLOP, in {plan.precision}"
    )
    yield from _memory_lines(plan)
    yield from _disk_lines(plan)
    yield f"speed: {plan.tokens_per_second:,.0f} target tokens/s; {plan.speed.source}"
    duration = plan.duration
    seconds = (duration.total, duration.updates, duration.validations, duration.checkpoints)
    total, updates, scores, checkpoints = map(seqx.format_duration, seconds)
    scored = _scored_sets(plan)
    yield (
        f"time: {total} without preparing the data and writing a report: updates {updates}, "
        f"{f'{scored} {scores}, ' if scored else ''}checkpoints {checkpoints}"
    )
    yield f"energy: {plan.kilowatt_hours:.3g} kWh ({plan.speed.power_source})"


def _scored_sets(plan: Plan) -> str:
    """Return a text that says how often the development and the test set are scored; "" if there are none."""
    dev = plan.duration.evaluations
    scores = [f"{dev} score{'s' * (dev > 1)} of the development set"] if dev else []
    if plan.workload.test_rows:
        scores.append("one of the test set" if dev else "one score of the test set")
    return " and ".join(scores)


def _memory_lines(plan: Plan) -> Iterator[str]:
    used = plan.memory
    device = "the device" if plan.devices == 1 else f"each of {plan.devices} devices"
    available = "unknown" if used.available is None else _size(used.available)
    yield f"memory of {device}: {_size(used.total)} of {available}"
    kinds = {
        "weights": used.weights,
        "gradients": used.gradients,
        "optimizer states": used.optimizer,
        "activations": used.activations,
        f"allocator and libraries ({used.overhead_source})": used.overhead,
        "scores of the development set (probe)": used.scoring,
        "process before the model": used.process,
    }
    yield from (f"  {name}: {_size(size)}" for name, size in kinds.items() if size)


def _disk_lines(plan: Plan) -> Iterator[str]:
    sizes = {name: size for name, size in plan.disk.items() if name != "checkpoint"}
    total = sum(size for size in sizes.values() if size is not None)
    listed = ", ".join(f"{name} {'unknown' if size is None else _size(size)}" for name, size in sizes.items())
    yield f"disk: {_size(total)} ({listed})"


def format_fit(planner: Planner, plan: Plan, proposals: Sequence[Proposal]) -> Iterator[str]:
    """Yield the lines about a run that does not fit, with proposals that do."""
    used = plan.memory
    assert used.available is not None, "a plan without a limit fits"
    yield f"does not fit: memory, by {_size(used.total - used.available)}"
    for proposal in proposals:
        changed = proposal.plan
        yield (
            f"fits with {' '.join(proposal.overrides)}: {_size(changed.memory.total)}, "
            f"{seqx.format_duration(changed.duration.total)}"
        )
        yield f"  {proposal.command(planner)}"
    if not proposals:
        fixed = used.weights + used.gradients + used.optimizer
        yield (
            "no setting of seqx makes it fit: weights, gradients and optimizer states need "
            f"{_size(fixed)}, and activations of a single row of the longest examples the rest; use more or "
            "larger devices (--devices, --gpu), a smaller model or a smaller max_length"
        )


def format_budget(planner: Planner, plan: Plan, budget: float, proposal: Proposal | None) -> Iterator[str]:
    """Yield the lines about a budget of seconds."""
    allowed = seqx.format_duration(budget)
    if proposal is None:
        yield f"budget: {allowed}; the recipe fits as it is: {seqx.format_duration(plan.duration.total)}"
        return
    changed = proposal.plan
    yield (
        f"budget: {allowed}; {changed.steps:,} of {plan.steps:,} updates take "
        f"{seqx.format_duration(changed.duration.total)}, with intervals and warm-up in proportion"
    )
    yield f"  {proposal.command(planner)}"


def _size(size: int) -> str:
    """Return a number of bytes with three digits and a unit."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}"
