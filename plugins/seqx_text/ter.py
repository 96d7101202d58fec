"""TER, the translation edit rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqx_text import spacing
from seqx_text.sacrebleu_metric import Resamples, SacrebleuMetric


@dataclass(frozen=True, kw_only=True)
class Ter(SacrebleuMetric):
    """TER as sacreBLEU computes it: edits and shifts of words per 100 reference words (Snover et al. 2006).

    Args:
        normalized: separate punctuation from words
        punctuation: false: remove punctuation
        asian: with `normalized`, split Chinese and Japanese text into characters
        lowercase: ignore case
        bootstrap: number of resamples for a 95% confidence interval (Koehn 2004), such as 1000; 0: none
    """

    name = "ter"
    lower_is_better = True

    normalized: bool = False
    punctuation: bool = True
    asian: bool = False
    lowercase: bool = True
    bootstrap: Resamples = 0

    def scorer(self, *, sentences: bool) -> Any:
        """Return sacreBLEU's metric."""
        from sacrebleu.metrics.ter import TER  # noqa: PLC0415

        return TER(
            normalized=self.normalized,
            no_punct=not self.punctuation,
            asian_support=self.asian,
            case_sensitive=not self.lowercase,
        )

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if the references have no spaces between words."""
        splittable = ("Chinese", "Japanese") if self.normalized and self.asian else ()
        advice = "set normalized=true and asian=true for Chinese and Japanese, or use chrf"
        return spacing.warn_if_unspaced(references, "ter", splittable=splittable, advice=advice)
