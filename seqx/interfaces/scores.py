"""Scores, perplexity, answers with references, and the comparison of models by their scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from seqx.errors import UserError

PERPLEXITY = "perplexity"
"""The name of perplexity, which every validation computes in addition to the scores of the task."""


def perplexity(nats: float) -> float:
    """Return the exponential of a mean negative log-probability; infinity if it is too large for a float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, kw_only=True)
class ValidationScore:
    """A score of a validation, with its perplexity.

    While a score has its worst value, such as BLEU 0.00 at the start of training, perplexity is compared
    instead.
    """

    name: str  # the name of a score of the task, or "perplexity"
    value: float
    rank: float  # larger is better, see Score.rank
    at_worst: bool  # see Score.is_worst; checkpoints contain this name
    perplexity: float | None  # of the same validation

    @property
    def order(self) -> tuple[float, bool, float]:
        """A key that is larger for a better score of the same name."""
        perplexity = self.perplexity
        if not self.at_worst or perplexity is None or math.isnan(perplexity):
            return self.rank, False, 0.0
        return self.rank, True, -perplexity

    def beats(self, other: "ValidationScore") -> bool:
        """Return true if this score is better than another score of the same name."""
        return self.order > other.order

    def improves(self, best: "ValidationScore") -> bool:
        """Return true if this score beats `best`, or if both are at their worst and perplexity is lower."""
        both_at_worst = self.at_worst and best.at_worst
        return self.beats(best) or (both_at_worst and self.order[1:] > best.order[1:])

    def __str__(self) -> str:
        """Return the text that commands print."""
        if self.name == PERPLEXITY:
            return f"{self.name} {self.value:.5g}"
        perplexity = "" if self.perplexity is None else f", perplexity {self.perplexity:.5g}"
        return f"{self.name} {self.value:.2f}{perplexity}"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95% confidence interval from bootstrap resamples of the test set (Koehn 2004).

    Args:
        mean: the mean of the resamples' scores
        margin: half of the width of the interval that contains 95% of these scores
    """

    mean: float
    margin: float


_EARLIER_RESULTS = ("error", "found", "precision", "recall", "repaired", "right", "skip", "valid")
"""Names of fields that are results, for scores of earlier versions, which have no `results`."""


def signature_settings(signature: str, results: Sequence[str] = ()) -> str:
    """Return a signature without results: scores can be compared if this text is equal.

    Args:
        signature: the signature of a score
        results: the names of its fields that are results, see `Score`; empty: those of earlier versions
    """
    names = results or _EARLIER_RESULTS
    return "|".join(field for field in signature.split("|") if field.partition(":")[0] not in names)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The value of a metric and its signature, which says how it was computed.

    Args:
        value: the value
        signature: everything that the value depends on besides the texts, such as versions and options, as
            "name:value|name:value"
        results: the names of the fields of the signature that are results, such as "valid" in `valid:299`;
            they differ between outputs, so scores that differ in nothing else can be compared
        lower_is_better: true for metrics such as perplexity
        is_detail: true for a score that explains another one, such as the recall of an F1; `seqx run` and
            `seqx compare` leave it out, unless it was published
        interval: the confidence interval; None: it was not computed
        note: a remark that is printed after the value, such as the number of outputs that were not scored
    """

    value: float
    signature: str
    results: Sequence[str] = ()
    lower_is_better: bool = False
    is_detail: bool = False
    interval: Interval | None = None
    note: str = ""

    @property
    def settings(self) -> str:
        """The signature without results: scores can be compared if this text is equal."""
        return signature_settings(self.signature, self.results)

    @property
    def rank(self) -> float:
        """A number that is larger for a better score; minus infinity for NaN."""
        if math.isnan(self.value):
            return -math.inf
        return -self.value if self.lower_is_better else self.value

    @property
    def is_worst(self) -> bool:
        """True for the worst value: 0.00 as printed, infinity if lower is better, or NaN."""
        if self.lower_is_better:
            return not math.isfinite(self.value)
        return math.isnan(self.value) or abs(self.value) < _PRINTED_AS_ZERO

    def beats(self, value: float) -> bool:
        """Return true if this score is better than another value of the same metric."""
        return self.rank > replace(self, value=value).rank

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set, as files and JSON output hold them."""
        interval = {} if self.interval is None else asdict(self.interval)
        results = {"results": [*self.results]} if self.results else {}
        flags = {name: True for name in ("lower_is_better", "is_detail") if getattr(self, name)}
        note = {"note": self.note} if self.note else {}
        return {"value": self.value, **interval, "signature": self.signature, **results, **flags, **note}

    def __str__(self) -> str:
        """Return the text that commands print."""
        interval = ""
        if self.interval is not None:
            interval = (
                f" (μ = {self.interval.mean:.2f} ± {self.interval.margin:.2f})"  # as sacreBLEU prints it
            )
        note = f" ({self.note})" if self.note else ""
        return f"{self.value:.2f}{interval}{note}  {self.signature}"


def main_scores(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return the scores that explain no other score; see `Score.is_detail`."""
    return {name: score for name, score in scores.items() if not score.is_detail}


@dataclass(frozen=True, kw_only=True)
class Significance:
    """The result of a paired bootstrap test: outputs against those of a baseline for the same inputs.

    Args:
        p_value: the probability of such a difference, or a larger one, if both systems were equally good
        signature: how it was computed
    """

    p_value: float
    signature: str


_PRINTED_AS_ZERO = 0.005  # smaller values are printed as 0.00


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of a model to one input, with the reference."""

    input: str  # text of the input
    output: str  # text of the answer
    reference: str  # the correct output
    more_references: Sequence[str] = ()  # other correct outputs


@dataclass(frozen=True)
class AnswerWarning:
    """A property that users should know about, and the number of inputs or answers that have it.

    Args:
        message: the property, in words that can follow "2 of 5", such as "inputs have more than 256 tokens"
        count: the number of inputs or answers that have the property
        total: the number that were checked. Set it even if `count` is 0, because both numbers are added up
            over all inputs.
    """

    message: str
    count: int
    total: int

    def __str__(self) -> str:
        """Return the line that commands print."""
        return f"{self.count:,} of {self.total:,} {self.message}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of a model on a split, and its answers."""

    scores: Mapping[str, Score]  # the main score first
    answers: Sequence[Answer] = ()  # some outputs, with inputs and references
    perplexity: float | None = None  # per target token; seqx computes it if the task does not
    warnings: Sequence[AnswerWarning] = ()  # about the answers and the examples

    def validation_score(self, name: str | None = None) -> ValidationScore:
        """Return the score called `name`, or perplexity; without a name the main score.

        Raises:
            UserError: there is no score of that name
        """
        by_name = dict(self.scores)
        if self.perplexity is not None:
            by_name.setdefault(PERPLEXITY, Score(value=self.perplexity, signature="", lower_is_better=True))
        name = next(iter(by_name), None) if name is None else name
        if name is None or name not in by_name:
            raise UserError(
                f"training: a validation has no score called {name!r}; "
                f"select and patience can name one of these: {', '.join(by_name)}"
            )
        score = by_name[name]
        return ValidationScore(
            name=name,
            value=score.value,
            rank=score.rank,
            at_worst=score.is_worst,
            perplexity=self.perplexity,
        )
