"""The significance of differences between runs, and the sentences whose scores differ most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import seqx
from seqx_runs.comparison_table import Row, score_settings

SPLIT = "test"
"""The split whose outputs are compared: `seqx run` scores it once, after training."""


def with_significance(rows: Sequence[Row], *, resamples: int, sentences: int, trust: bool) -> list[Row]:
    """Return the rows with the results of tests against the first run, and the most different sentences.

    A row whose outputs cannot be compared gets the reason.

    Args:
        rows: the data of runs, as `compare_runs` returns them
        resamples: the number of bootstrap resamples; 0: no tests
        sentences: the number of sentences
        trust: run local plugins of the runs
    """
    read: dict[int, seqx.RecordedAnswers] = {}
    reasons: dict[int, str] = {}
    for number, row in enumerate(rows):
        if not (row["finished"] and SPLIT in row["scores"]):
            reasons[number] = f"it has no {SPLIT} scores" + ("" if row["finished"] else " yet")
            continue
        try:
            answers = seqx.RecordedAnswers.read(Path(row["folder"]), SPLIT, trust_local_plugins=trust)
        except seqx.UserError as error:
            reasons[number] = str(error)
        else:
            read[number] = answers
    if 0 not in read:
        unknown = f"the outputs of {rows[0]['run']} are not known ({reasons[0].splitlines()[0]})"
        return [rows[0], *({**row, "not_tested": unknown} for row in rows[1:])]
    compared: list[Row] = [rows[0]]
    for number, row in enumerate(rows[1:], 1):
        reason = reasons.get(number)
        if reason is None and read[number].data != read[0].data:
            reason = f"its {SPLIT} data differ from those of {rows[0]['run']}; do not compare their scores"
        if reason is not None:
            compared.append({**row, "not_tested": reason})
            continue
        tests = _tests(rows[0], row, read[0], read[number], resamples) if resamples else {}
        changed = _changed(read[0], read[number], sentences)
        compared.append({**row, "significance": {SPLIT: tests}, "changed_sentences": changed})
    return compared


def _tests(
    first: Row, row: Row, baseline: seqx.RecordedAnswers, other: seqx.RecordedAnswers, resamples: int
) -> dict[str, Mapping[str, Any]]:
    """Return the tests of the scores that have the same signature in both runs."""
    results = baseline.task.significance(baseline.answers, other.answers, resamples)
    signatures = [
        {name: score_settings(score) for name, score in each["scores"][SPLIT].items()}
        for each in (first, row)
    ]
    return {
        name: asdict(result)
        for name, result in results.items()
        if signatures[0].get(name) == signatures[1].get(name)
    }


def _changed(baseline: seqx.RecordedAnswers, other: seqx.RecordedAnswers, count: int) -> list[dict[str, Any]]:
    """Return the sentences whose scores differ most, by the first score that differs."""
    different = [
        (number, before, after)
        for number, (before, after) in enumerate(zip(baseline.answers, other.answers, strict=True), 1)
        if before.output != after.output
    ]
    if not different or not count:
        return []
    numbers, *both = zip(*different, strict=True)
    scores = [baseline.task.answer_scores(answers) for answers in both]
    for name in scores[0][0]:
        found = [
            {
                "sentence": number,
                "metric": name,
                "scores": [before[name].value, after[name].value],
                "input": old.input,
                "reference": old.reference,
                "outputs": [old.output, new.output],
            }
            for number, old, new, before, after in zip(numbers, *both, *scores, strict=True)
            if name in before and name in after and before[name].value != after[name].value
        ]
        if found:
            return sorted(found, key=_change, reverse=True)[:count]
    return []


def _change(sentence: Mapping[str, Any]) -> float:
    before, after = sentence["scores"]
    return abs(after - before)


def significance_notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield notes about the tests: how p-values were computed, and why runs were not tested."""
    signatures: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, test in row.get("significance", {}).get(SPLIT, {}).items():
            signatures.setdefault(test["signature"], {})[name] = None
    if signatures:
        yield (
            f"p: paired bootstrap test against {rows[0]['run']} over the sentences of the {SPLIT} set (Koehn "
            "2004); it does not cover the variation between seeds"
        )
    yield from (f"p ({SPLIT} {', '.join(names)}): {signature}" for signature, names in signatures.items())
    for row in rows:
        reason = row.get("not_tested")
        if reason and row["finished"]:  # other notes describe unfinished runs
            yield f"{row['run']}: not tested against {rows[0]['run']}: {reason}"


def changed_sentences(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the sentences that changed most in each run."""
    for row in rows:
        found = named_sentences([rows[0], row])
        if not found:
            continue
        yield ""
        yield f"{SPLIT} sentences that differ most, by {found[0]['metric']} of single sentences:"
        for sentence in found:
            before, after = sentence["scores"]
            yield f"  sentence {sentence['sentence']}: {after - before:+.2f} ({before:.2f} to {after:.2f})"
            yield f"    input: {sentence['input']}"
            yield f"    reference: {sentence['reference']}"
            yield from (f"    {name}: {output}" for name, output in sentence["named_outputs"])


def named_sentences(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the sentences that changed most in each run, with the names of both runs."""
    return [
        {
            **sentence,
            "named_outputs": [*zip((rows[0]["run"], row["run"]), sentence["outputs"], strict=True)],
        }
        for row in rows
        for sentence in row.get("changed_sentences", ())
    ]
