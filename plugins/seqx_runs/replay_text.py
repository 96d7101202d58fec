"""The output of `seqx replay`, as lines and as plain values."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import seqx
from seqx_runs.pages import visible
from seqx_runs.replayed import RecordedMeans, Replayed, ReplayedNumbers
from seqx_runs.sentences import shortened

_ORDERS = {
    "gradient": "largest gradients",
    "loss": "largest losses",
    "token-loss": "largest losses per token",
}


def plain_replay(replayed: Replayed) -> dict[str, Any]:
    """Return a replayed update as plain values; epoch, batch, rows, ranks and microbatches count from 1."""
    batch, numbers = replayed.batch, replayed.numbers
    return {
        "run": replayed.run,
        "step": batch.step,
        "epoch": batch.position.epoch + 1,
        "batch": batch.position.index + 1,
        "undone": batch.undone is not None,
        "sentences": len(batch.examples),
        "microbatches": batch.microbatches,
        "ranks": replayed.processes,
        "target_tokens": batch.tokens,
        "weights": None if numbers is None else _plain_weights(numbers.weights),
        "computed": None
        if numbers is None
        else {
            **numbers.means,
            "norm": numbers.norm,
            "learning_rate": numbers.learning_rate,
            "skipped": numbers.skipped,
        },
        "recorded": None if replayed.recorded is None else asdict(replayed.recorded),
        "examples": [_plain_example(each, numbers) for each in replayed.examples],
    }


def _plain_weights(weights: seqx.ReplayedWeights) -> dict[str, Any]:
    return {**asdict(weights), "source": None if weights.source is None else str(weights.source)}


def _plain_example(example: seqx.ReplayedExample, numbers: ReplayedNumbers | None) -> dict[str, Any]:
    loss = None if numbers is None else numbers.losses[example.index]
    computed = (
        {}
        if loss is None
        else {
            "loss": loss.loss,
            "loss_per_token": loss.loss_per_token,
            "sums": loss.sums,
            "target_tokens": loss.tokens,
            "norm": loss.norm,
        }
    )
    return {
        "example": example.index,
        "row": None if example.row is None else example.row + 1,
        "location": example.location,
        "rank": example.rank + 1,
        "microbatch": example.microbatch + 1,
        **computed,
        "text": example.text,
        "tokens": example.tokens,
    }


def replay_lines(replayed: Replayed, *, tokens: bool) -> Iterator[str]:
    """Yield the lines that the command prints."""
    batch, numbers = replayed.batch, replayed.numbers
    undone = " before the rollback" if batch.undone else ""
    ranks = f" of {replayed.processes} ranks" if replayed.processes > 1 else ""
    at = f"batch {batch.position.index + 1:,} of epoch {batch.position.epoch + 1:,}"
    parts = f"{_counted(batch.microbatches, 'microbatch')}{ranks}, {_counted(batch.tokens, 'target token')}"
    yield f"update {batch.step}{undone}: {at}, {_counted(len(batch.examples), 'sentence')} in {parts}"
    yield from _notes(replayed)
    if numbers is not None:
        yield f"weights: {_weights_text(replayed, numbers.weights)}"
        yield ""
        yield from _table(replayed, numbers)
    yield ""
    yield from _nonfinite_note(replayed)
    yield _heading(replayed)
    for example in replayed.examples:
        yield from _example_lines(example, replayed, tokens=tokens)


def _counted(count: int, noun: str) -> str:
    plural = "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def _notes(replayed: Replayed) -> Iterator[str]:
    """Yield a note if the run rolled back an update of this number, or has not recorded this one yet."""
    step = replayed.batch.step
    if replayed.was_undone and replayed.batch.undone is None:
        yield f"the run rolled back an earlier update {step}: --undone shows that one"
    if step > replayed.updates_made:
        yield f"the run has recorded {_counted(replayed.updates_made, 'update')} so far, and not yet this one"


def _weights_text(replayed: Replayed, weights: seqx.ReplayedWeights) -> str:
    """Return a text that says which weights were used, and whether they are those of the run."""
    source = "the initial ones" if weights.source is None else str(weights.source)
    if weights.repeated:
        more = _counted(weights.repeated, "update")
        return f"{source}, after making {more} again: those with which the run made this update"
    if weights.exact:
        return f"{source}: those with which the run made this update"
    distance = replayed.batch.step - 1 - weights.step
    if distance:
        other = f"{_counted(abs(distance), 'update')} {'earlier' if distance > 0 else 'later'}"
    else:
        other = "from before or after a rollback, or a mean of checkpoints"
    again = f"--exact makes {_counted(replayed.to_repeat, 'update')} again"
    seconds = replayed.to_repeat * (replayed.seconds or 0)
    if seconds >= 1:
        again += f", about {seqx.format_duration(seconds)}"
    return f"{source}, {other}: loss and gradients are not those of the run ({again})"


def _table(replayed: Replayed, numbers: ReplayedNumbers) -> Iterator[str]:
    """Yield a table of the numbers that were computed now, and of those that the run recorded."""
    recorded = replayed.recorded
    single = recorded is not None and recorded.first == recorded.last
    head = "recorded by the run"
    if recorded is not None and not single:
        head += f" (mean of updates {recorded.first:,} to {recorded.last:,})"
    step = replayed.batch.step
    rows: list[tuple[str, float, float | None]] = [
        ("loss", numbers.means["loss"], recorded.loss if recorded else None),
        ("gradient norm", numbers.norm, _of_update(recorded, step, "norm")),
        ("learning rate", numbers.learning_rate, _of_update(recorded, step, "learning_rate")),
    ]
    yield f"{'':<15}{'computed now':<15}{head if recorded else ''}".rstrip()
    for name, now, before in rows:
        shown = "" if before is None else seqx.format_number(before)
        yield f"{name:<15}{seqx.format_number(now):<15}{shown}".rstrip()
    if numbers.skipped:
        yield "the loss or the gradient is not finite, so the update does not change the weights"
    if recorded is None:
        yield f"{replayed.run}/metrics.jsonl has no record of this update"
    if recorded is None or not single:
        yield "to record each update, set `every: 1` of the callback `metrics` and start a new run"
    elif single and numbers.weights.exact:
        yield from _agreement(recorded, numbers, replayed.processes)


def _of_update(recorded: RecordedMeans | None, step: int, name: str) -> float | None:
    """Return a recorded number of the last update of a line, if it is this update."""
    value: float | None = getattr(recorded, name) if recorded and recorded.last == step else None
    return value


def _agreement(recorded: RecordedMeans, numbers: ReplayedNumbers, processes: int) -> Iterator[str]:
    """Yield a line that says whether the computed numbers are those of the run."""
    pairs = [(numbers.means["loss"], recorded.loss), (numbers.norm, recorded.norm)]
    if all(now == before or numbers.skipped for now, before in pairs):
        yield "loss and gradient norm are those of the run, to the last digit"
        return
    if all(before is not None and math.isclose(now, before, rel_tol=1e-4) for now, before in pairs):
        reason = "it had several processes" if processes > 1 else "it had another device, or other threads"
        yield f"loss and gradient norm are those of the run, except for rounding ({reason})"
        return
    yield (
        "loss or gradient norm differ from those of the run: it had another device, precision or number of "
        "processes, or the code of a component has changed"
    )


def _nonfinite_note(replayed: Replayed) -> Iterator[str]:
    """Yield a line about the cause if the gradients of some sentences are not finite."""
    if replayed.numbers is None:
        return
    norms = [loss.norm for loss in replayed.numbers.losses.values()]
    bad = sum(not math.isfinite(norm) for norm in norms)
    if bad == len(norms):
        yield (
            "the gradient of no sentence is finite: the weights or the learning rate are the cause, not the "
            "sentences; look at earlier updates"
        )
    elif bad:
        yield f"the gradients of {bad:,} of {_counted(len(norms), 'sentence')} are not finite"


def _heading(replayed: Replayed) -> str:
    shown, count = len(replayed.examples), len(replayed.batch.examples)
    part = "" if shown == count else f" ({shown:,} of {count:,}; --top 0 shows all)"
    if replayed.numbers is None:
        return f"sentences{part}:"
    return f"sentences with the {_ORDERS[replayed.order]}, each computed alone and without dropout{part}:"


def _example_lines(example: seqx.ReplayedExample, replayed: Replayed, *, tokens: bool) -> Iterator[str]:
    rank = f"rank {example.rank + 1}, " if replayed.processes > 1 else ""
    number = f"example {example.index:,}"  # as in messages of the run
    place = f"{example.location} ({number})" if example.location else number
    parts = [f"{place}, {rank}microbatch {example.microbatch + 1}"]
    if replayed.numbers is not None:
        loss = replayed.numbers.losses[example.index]
        parts += [
            f"gradient norm {seqx.format_number(loss.norm)}",
            f"loss {seqx.format_number(loss.loss)}",
            f"{seqx.format_number(loss.loss_per_token)} per token ({_counted(loss.tokens, 'token')})",
        ]
    yield f"  {'  '.join(parts)}"
    for name, text in example.text.items():
        yield f"    {name + ':':<8} {visible(shortened(text))}"
    if tokens or not example.text:
        for name, symbols in example.tokens.items():
            yield f"    {name} tokens: {visible(' '.join(symbols))}"
