"""ChrF, the character n-gram F-score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

import seqx
from seqx_text import spacing


@dataclass(frozen=True, kw_only=True)
class Chrf(seqx.Metric):
    """ChrF as sacreBLEU computes it: F2 of character n-grams, from 0 to 100 (Popovic 2015; chrF++: 2017).

    Args:
        words: maximum length of word n-grams, which are counted besides the character n-grams: 0 is chrF, 2
            is chrF++
        lowercase: ignore case
    """

    words: Annotated[int, Ge(0)] = 0
    lowercase: bool = False

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the corpus score, as `chrf`."""
        from sacrebleu.metrics.chrf import CHRF  # noqa: PLC0415

        chrf = CHRF(word_order=self.words, lowercase=self.lowercase)
        value = chrf.corpus_score(list(outputs), [list(references)]).score
        return {"chrf": seqx.Score(value=value, signature=str(chrf.get_signature()))}

    def score_names(self) -> Sequence[str]:
        """Return the name of the score, without importing sacreBLEU."""
        return ["chrf"]

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if word n-grams are counted in references without spaces between words."""
        if not self.words:
            return ()
        return spacing.warn_if_unspaced(references, f"chrf: words={self.words}", advice="set words=0")
