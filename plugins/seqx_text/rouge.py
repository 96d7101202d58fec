"""ROUGE, by the package rouge-score."""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import seqx
from seqx_text import spacing

Kind = Literal["rouge1", "rouge2", "rougeL"]
"""The name of a variant of ROUGE."""


@dataclass(frozen=True, kw_only=True)
class Rouge(seqx.Metric):
    """ROUGE of summaries: mean F1 of n-grams or longest common subsequences, from 0 to 100 (Lin 2004).

    Tokens are sequences of the letters a to z and digits, in lower case. So ROUGE only suits English.

    Args:
        kinds: the scores to compute; by default the first one selects checkpoints. rouge1 and rouge2 compare
            unigrams and bigrams, rougeL the longest common subsequence of words
        stem: compare words by their Porter stems
    """

    kinds: tuple[Kind, ...] = ("rougeL", "rouge1", "rouge2")
    stem: bool = False

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("kinds is empty; name at least one, as in kinds: [rougeL]")
        if importlib.util.find_spec("rouge_score") is None:
            raise ValueError(
                "ROUGE needs the package rouge-score, which is not installed: pip install rouge-score"
            )

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the mean score of each variant in `kinds`."""
        scorer = _scorer(self.kinds, self.stem)
        sums = dict.fromkeys(self.kinds, 0.0)
        for output, reference in zip(outputs, references, strict=True):
            values = scorer.score(reference, output)
            for kind in self.kinds:
                sums[kind] += values[kind].fmeasure
        version = importlib.metadata.version("rouge-score")
        signature = f"f:1|stem:{'porter' if self.stem else 'no'}|rouge-score:{version}"
        count = max(len(references), 1)
        return {kind: seqx.Score(value=100 * sums[kind] / count, signature=signature) for kind in self.kinds}

    def score_names(self) -> Sequence[str]:
        """Return the names of the scores, without importing rouge-score."""
        return list(self.kinds)

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if the tokenizer does not split the references into words."""
        advice = "use chrf, or bleu with tokenize=char"
        return spacing.warn_if_unspaced(
            references, "rouge: the tokenizer, which knows a to z and digits only,", advice=advice
        )


@cache
def _scorer(kinds: tuple[Kind, ...], stem: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    return RougeScorer(list(kinds), use_stemmer=stem)
