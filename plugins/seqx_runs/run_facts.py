"""Facts about a run as names and texts: its state, data and environment, and commands to repeat it."""

import shlex
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import seqx

MAX_RECIPE_LINES = 2_000
"""The maximum number of lines of the recipe."""


class State(NamedTuple):
    """The state of a run."""

    text: str
    level: Literal["good", "bad", "warn"]


class RecipeLine(NamedTuple):
    """A line of the resolved recipe."""

    text: str
    origin: str  # empty if the line sets no value, or if the origins were not recorded
    is_set: bool  # the value is not a default


Facts = list[tuple[str, str]]


def summary_of(record: seqx.Record, *, ended: bool) -> dict[str, Any]:
    """Return the values with which the report and the view in notebooks begin.

    Args:
        record: the run
        ended: the caller knows that the run has ended
    """
    metrics = record.metrics
    return {
        "name": metrics.start.get("run") or record.folder.resolve().name,
        "folder": str(record.folder),
        "state": state_of(record, ended=ended),
        "failure": None if record.scores is not None else metrics.failed,
        "metrics_problem": metrics.problem,
        "tiles": tiles_of(record),
    }


def state_of(record: seqx.Record, *, ended: bool) -> State:
    """Return the state of a run.

    Args:
        record: the run
        ended: the caller knows that the run has ended
    """
    if record.scores is not None:
        return State("finished", "good")
    if not ended and _is_locked(record.folder):
        return State("running", "warn")
    if record.metrics.failed is None:
        return State("not finished", "warn")
    return State(
        record.metrics.failed.partition(" (")[0], "bad" if "failed" in record.metrics.failed else "warn"
    )


def _is_locked(folder: Path) -> bool:
    """Return true if a process uses the folder of a run."""
    if not (folder / ".lock").is_file():
        return False
    try:
        with seqx.file_lock(folder / ".lock"):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _first(scores: Mapping[str, seqx.Score], count: int) -> Facts:
    """Return the first main scores."""
    return [(name, f"{score.value:.2f}") for name, score in islice(seqx.main_scores(scores).items(), count)]


def tiles_of(record: seqx.Record) -> Facts:
    """Return the most important numbers of a run."""
    metrics = record.metrics
    scores = record.scores or {split: each.scores for split, each in metrics.last_evaluations.items()}
    split = "test" if "test" in scores else "dev"
    tiles = [(f"{split} {name}", value) for name, value in _first(scores.get(split, {}), 2)]
    if split == "test":
        tiles += [(f"dev {name}", value) for name, value in _first(scores.get("dev", {}), 1)]
    evaluation = metrics.last_evaluations.get(split)
    if evaluation is not None and evaluation.perplexity is not None:
        tiles.append((f"{split} perplexity", seqx.format_number(evaluation.perplexity)))
    done, steps = max(record.progress.step, metrics.step), record.recipe["training"]["steps"]
    tiles.append(("updates", f"{done:,}" if done == steps else f"{done:,} of {steps:,}"))
    if (parameters := record.parameters or metrics.start.get("parameters")) is not None:
        tiles.append(("parameters", f"{parameters:,}"))
    if metrics.tokens_per_second is not None:
        tiles.append(("target tokens per second", f"{metrics.tokens_per_second:,.0f}"))
    if record.progress.seconds:
        tiles.append(("time, validations included", seqx.format_duration(record.progress.seconds)))
    return tiles


def data_facts(record: seqx.Record) -> Facts:
    """Return the facts about the training data: counts, dropped rows, overlaps with other splits."""
    start = record.metrics.start
    facts = [("corpus", _short(record.recipe["task"].get("corpus")))]
    if "examples" in start:
        facts.append(("training examples", f"{start['examples']:,}"))
    if "dropped" in start:
        dropped = [f"{count:,} {reason}" for reason, count in start["dropped"].items() if count]
        facts.append(("dropped rows", ", ".join(dropped) or "none"))
    for split, overlap in (start.get("leaks") or {}).items():
        facts.append((f"overlap of training and {split}", _overlap(overlap)))
    if record.metrics.updates:
        tokens = sum(line["tokens"] for line in record.metrics.updates)
        facts.append(("target tokens seen in training", f"{tokens:,}"))
    return facts


def _overlap(overlap: Mapping[str, Any]) -> str:
    rows, sides = overlap.get("rows", 0), overlap.get("sides") or ()
    parts = [f"{rows:,} rows occur in both"] if rows else []
    parts += [f"{count:,} texts of column {i} occur in both" for i, count in enumerate(sides) if count]
    return ", ".join(parts) or "none"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        settings = ", ".join(
            f"{key}: {item}" for key, item in value.items() if key != "type" and item is not None
        )
        return f"{value.get('type')} ({settings})" if settings else str(value.get("type"))
    return str(value)


def environment_facts(record: seqx.Record) -> Facts:
    """Return the facts about hardware and versions."""
    environment = record.environment
    start = record.metrics.start
    facts = {
        "device": start.get("device"),
        "precision": start.get("precision"),
        "GPU": environment.get("gpu"),
        "processor": environment.get("processor"),
        "platform": environment.get("platform"),
        "processes": environment.get("processes"),
        "threads per process": environment.get("threads"),
        "seqx": environment.get("seqx"),
        "Python": environment.get("python"),
        **(environment.get("packages") or {}),
    }
    plugins = environment.get("plugins") or {}
    external = [
        f"{name} {plugin.get('version') or ''} from {plugin.get('from')}"
        for name, plugin in plugins.items()
        if isinstance(plugin, dict) and plugin.get("from") != "seqx-toolkit"
    ]
    facts["other plugins"] = ", ".join(external) or "none"
    return [(name, str(value)) for name, value in facts.items() if value is not None]


def commands_of(record: seqx.Record) -> list[tuple[str, str]]:
    """Return commands with their purposes."""
    folder, environment = record.folder, record.environment
    options = []
    if isinstance(environment.get("processes"), int) and environment["processes"] > 1:
        options.append(f"--devices={environment['processes']}")
    if record.metrics.start.get("device") == "cpu" and environment.get("threads") is not None:
        options.append(f"--threads={environment['threads']}")
    recipe, again = folder / "recipe.yaml", folder.with_name(f"{folder.name}-again")
    repeat = _command("run", recipe, "--folder", again, *options)
    if record.scores is None:
        last = str(record.metrics.step)
        return [
            ("Continue the run", _command("run", recipe, "--folder", folder)),
            ("Train again from the start", repeat),
            *([("Show the sentences of an update", _command("replay", folder, last))] if last != "0" else []),
            ("Write this report again", _command("report", folder)),
        ]
    return [
        ("Train again with the same recipe", repeat),
        ("Score the model again", _command("evaluate", folder)),
        ("Compare both runs", _command("compare", folder, again)),
        ("Show the mistakes of the model", _command("errors", folder)),
    ]


def _command(*arguments: str | Path) -> str:
    return shlex.join(["seqx", *map(str, arguments)])


def recipe_lines(record: seqx.Record) -> Iterator[RecipeLine]:
    """Yield the lines of the resolved recipe with the origins of their values, as `seqx show` prints them."""
    text = record.origins
    if text is None:
        text = (record.folder / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines()[:MAX_RECIPE_LINES]:
        setting, hash_sign, origin = line.rpartition("  # ") if record.origins is not None else (line, "", "")
        yield RecipeLine(
            (setting if hash_sign else line).rstrip(),
            origin if hash_sign else "",
            bool(hash_sign) and origin != "default",
        )
