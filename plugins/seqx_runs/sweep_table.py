"""The table of a sweep: scores of each configuration over its seeds, compared with the baseline."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np

from seqx_runs.comparison import empty_outputs_note, signature_notes
from seqx_runs.comparison_significance import SPLIT, with_significance
from seqx_runs.comparison_table import SPLITS, Column, Row, score_names, without_details
from seqx_runs.sweep_state import TrialState
from seqx_runs.sweep_trials import Configuration, Sweep, Trial, value_text

_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of a sweep so far.

    Args:
        sweep: the sweep
        states: the state of each trial
        stopped: the configurations that successive halving stopped, with the numbers of updates
        failed: the error of each trial that failed
        all_scores: include the scores that explain others
    """

    sweep: Sweep
    states: Mapping[Trial, TrialState]
    stopped: Mapping[Configuration, int] = field(default_factory=dict)
    failed: Mapping[Trial, str] = field(default_factory=dict)
    all_scores: bool = False

    def rows(self, configuration: Configuration) -> list[Row]:
        """Return the data of the finished trials of a configuration."""
        states = [self.states[trial] for trial in self.sweep.of(configuration)]
        rows = [state.row for state in states if state.finished and state.row is not None]
        return rows if self.all_scores else [*map(without_details, rows)]

    @cached_property
    def p_values(self) -> Mapping[Configuration, Mapping[str, float]]:
        """The p-values of the scores of the test set, against the baseline.

        With one seed, outputs are compared by a paired bootstrap; with several, scores by Welch's t-test.
        """
        baseline = self.rows(self.sweep.baseline)
        others = {
            each: self.rows(each) for each in self.sweep.configurations if each is not self.sweep.baseline
        }
        if len(self.sweep.seeds) > 1:
            return {each: _welch_tests(baseline, rows) for each, rows in others.items()}
        finished = {each: rows for each, rows in others.items() if rows and baseline}
        tested = [row for rows in finished.values() for row in rows]
        compared = (
            with_significance([*baseline, *tested], resamples=_RESAMPLES, sentences=0, trust=True)
            if tested
            else []
        )
        tests = (row.get("significance", {}).get(SPLIT, {}) for row in compared[1:])
        return {
            each: {name: test["p_value"] for name, test in named.items()}
            for each, named in zip(finished, tests, strict=True)
        }

    def as_json(self) -> list[dict[str, Any]]:
        """Return all data: for each configuration its settings, its p-values and its trials."""
        return [
            {
                "configuration": str(each),
                "recipe": each.recipe,
                "profile": each.profile,
                "settings": each.settings,
                "baseline": each is self.sweep.baseline,
                "stopped_at": self.stopped.get(each),
                "p_values": self.p_values.get(each, {}),
                "trials": [
                    {
                        "seed": trial.seed,
                        "folder": str(trial.folder),
                        "failed": self._failure(trial),
                        "run": self.states[trial].row,
                    }
                    for trial in self.sweep.of(each)
                ],
            }
            for each in self.sweep.configurations
        ]

    def columns(self) -> list[Column]:
        """Return the columns of the table."""
        configurations = self.sweep.configurations
        names = [*configurations[0].varied] or ["recipe"]
        columns = []
        for name in names:
            texts = [value_text(each.varied.get(name, each.recipe)) for each in configurations]
            columns.append(Column(name=name, values=texts, texts=texts))
        rows = [self.rows(each) for each in configurations]
        counts = [len(each) for each in rows]
        of = [
            f"{count}" if count == len(self.sweep.seeds) else f"{count} of {len(self.sweep.seeds)}"
            for count in counts
        ]
        columns.append(Column(name="seeds", values=counts, texts=of))
        for split in SPLITS:
            for name in score_names([row for each in rows for row in each], split):
                columns += self._score_columns(rows, split, name)
        return columns

    def _score_columns(self, rows: Sequence[Sequence[Row]], split: str, name: str) -> Iterator[Column]:
        """Yield mean, standard deviation and p-value of a score."""
        title = f"{split} {name}"
        values = [_values(each, split, name) for each in rows]
        means = [fmean(each) if each else None for each in values]
        deviations = [stdev(each) if len(each) > 1 else None for each in values]
        texts = [
            "-" if mean is None else f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
            for mean, deviation in zip(means, deviations, strict=True)
        ]
        yield Column(name=title, values=means, texts=texts)
        yield Column(name=f"{title} standard deviation", values=deviations, texts=None)
        p_values = [self.p_values.get(each, {}).get(name) for each in self.sweep.configurations]
        shown = [
            f"{value:.3f}" if value is not None else "equal" if self._is_equal(each, name) else "-"
            for value, each in zip(p_values, self.sweep.configurations, strict=True)
        ]
        if split == SPLIT and {*shown} != {"-"}:
            yield Column(name=f"p ({title})", values=p_values, texts=shown)

    def _is_equal(self, configuration: Configuration, name: str) -> bool:
        """Return true if all trials of a configuration and the baseline have the same score on `SPLIT`."""
        baseline = self.sweep.baseline
        scores = [_values(self.rows(each), SPLIT, name) for each in (configuration, baseline)]
        is_tested = len(self.sweep.seeds) > 1 and configuration is not baseline
        return is_tested and _are_equal(*scores)

    def common_settings(self) -> str:
        """Return a line with the recipe, the profile and the settings that all configurations have."""
        baseline = self.sweep.baseline
        values = {"recipe": baseline.recipe, "profile": baseline.profile, **baseline.settings}
        others = [
            {"recipe": each.recipe, "profile": each.profile, **each.settings}
            for each in self.sweep.configurations
        ]
        common = [
            f"{key}={value_text(value)}"
            for key, value in values.items()
            if value is not None and all(other[key] == value for other in others)
        ]
        return f"all trials: {', '.join(common) or 'no common settings'}"

    def signatures(self) -> Iterator[str]:
        """Yield the signatures of the scores, each one once."""
        yield from signature_notes(
            [{**row, "run": str(each)} for each in self.sweep.configurations for row in self.rows(each)]
        )

    def notes(self) -> Iterator[str]:
        """Yield notes below the table: the test, and trials without results or with only empty outputs."""
        tested = [each for each, values in self.p_values.items() if values]
        if tested:
            by_seeds = len(self.sweep.seeds) > 1
            test = (
                "Welch's two-sided t-test over seeds"
                if by_seeds
                else "paired bootstrap test over the sentences of the test set"
            )
            yield (
                f"p: {test} against {self.sweep.baseline}, not corrected for the number of "
                f"comparisons ({len(tested)})"
            )
            if not by_seeds:
                yield "p: one seed per configuration; the test does not cover the variation between seeds"
        for configuration, step in self.stopped.items():
            yield f"{configuration}: stopped after {step:,} updates by successive halving"
        for trial, state in self.states.items():
            if failure := self._failure(trial):
                yield f"{trial}: failed: {failure} (see {trial.log})"
            elif not state.finished and trial.configuration not in self.stopped:
                steps = (
                    "" if state.row is None else f", {state.row['updates']:,} of {state.row['of']:,} updates"
                )
                yield f"{trial}: not finished{steps}" if state.started else f"{trial}: not started"
            if state.row is not None and (empty := empty_outputs_note(state.row)):
                yield f"{trial}: {empty}"

    def _failure(self, trial: Trial) -> str | None:
        return self.failed.get(trial) or self.states[trial].failure


def _welch_tests(baseline: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, float]:
    """Return the p-value of each score of the test set that several rows of each list have.

    Perplexities are compared only if all runs have the same vocabulary.
    """
    is_one_vocabulary = len({row["vocabulary"] for row in [*baseline, *rows]}) == 1
    pairs = {
        name: (_values(baseline, SPLIT, name), _values(rows, SPLIT, name))
        for name in score_names([*baseline, *rows], SPLIT)
        if name != "perplexity" or is_one_vocabulary
    }
    return {
        name: welch_p_value(*pair)
        for name, pair in pairs.items()
        if min(map(len, pair)) > 1 and not _are_equal(*pair)
    }


def _are_equal(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return true if all values are the same, so that there is nothing to test."""
    return min(len(first), len(second)) > 1 and len({*first, *second}) == 1


def _values(rows: Sequence[Row], split: str, name: str) -> list[float]:
    """Return the values of a score in the rows that have it."""
    if name == "perplexity":
        found = [row["perplexity"].get(split) for row in rows]
    else:
        found = [row["scores"].get(split, {}).get(name, {}).get("value") for row in rows]
    return [value for value in found if value is not None]


def welch_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p-value of Welch's t-test, which allows different variances (Welch 1947)."""
    errors = [stdev(values) ** 2 / len(values) for values in (first, second)]
    difference = abs(fmean(first) - fmean(second))
    if sum(errors) == 0:
        return 1.0 if difference == 0 else 0.0
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, (first, second), strict=True)
    )
    # With t = sqrt(freedom) * tan(angle), the density of Student's distribution is cos(angle)^(freedom - 1).
    angle = math.atan(difference / math.sqrt(sum(errors) * freedom))
    tail, half = (_integral_of_cosine_power(low, freedom - 1) for low in (angle, 0.0))
    return tail / half


def _integral_of_cosine_power(low: float, power: float) -> float:
    """Return the integral of cos(x)^power from `low` to pi / 2."""
    x = np.linspace(low, math.pi / 2, 20_001)
    return float(np.trapezoid(np.cos(x).clip(0) ** power, x))
