"""ChrF, the character n-gram F-score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge

from seqx_text import spacing
from seqx_text.sacrebleu_metric import Resamples, SacrebleuMetric


@dataclass(frozen=True, kw_only=True)
class Chrf(SacrebleuMetric):
    """ChrF as sacreBLEU computes it: F2 of character n-grams, from 0 to 100 (Popovic 2015; chrF++: 2017).

    Args:
        words: maximum length of word n-grams, which are counted besides the character n-grams: 0 is chrF, 2
            is chrF++
        lowercase: ignore case
        bootstrap: number of resamples for a 95% confidence interval (Koehn 2004), such as 1000; 0: none
    """

    name = "chrf"

    words: Annotated[int, Ge(0)] = 0
    lowercase: bool = False
    bootstrap: Resamples = 0

    def scorer(self, *, sentences: bool) -> Any:
        """Return sacreBLEU's metric."""
        from sacrebleu.metrics.chrf import CHRF  # noqa: PLC0415

        return CHRF(word_order=self.words, lowercase=self.lowercase)

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if word n-grams are counted in references without spaces between words."""
        if not self.words:
            return ()
        return spacing.warn_if_unspaced(references, f"chrf: words={self.words}", advice="set words=0")
