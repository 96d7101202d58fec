"""The base class of metrics that sacreBLEU computes."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

import seqx

Resamples = Annotated[int, Ge(0)]


class SacrebleuMetric(seqx.Metric):
    """A metric that sacreBLEU computes: with one or several references, intervals and scores of sentences.

    A subclass defines `name`, `scorer` and `bootstrap`, and may change the text and the signature.
    """

    name: ClassVar[str]
    """The name of the score."""

    lower_is_better: ClassVar[bool] = False

    bootstrap: int = 0
    """The number of bootstrap resamples for the confidence interval; 0: none."""

    @abstractmethod
    def scorer(self, *, sentences: bool) -> Any:
        """Return the metric of sacreBLEU.

        Args:
            sentences: true if the metric will score single sentences
        """

    def prepare(self, text: str) -> str:
        """Return the text of an output or reference that sacreBLEU reads."""
        return text

    def signature(self, signature: str) -> str:
        """Return the signature of the score, given that of sacreBLEU."""
        return signature

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the score of all outputs."""
        return self.compare(outputs, references)

    def compare(self, outputs: Sequence[str], *references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the score of all outputs against one or several lists of references."""
        scorer = self.scorer(sentences=False)
        if self.bootstrap:
            _use_plain_numbers(scorer)
        texts = [list(map(self.prepare, texts)) for texts in (outputs, *references)]
        result = scorer.corpus_score(texts[0], texts[1:], n_bootstrap=max(1, self.bootstrap))
        return {self.name: self._score(result, scorer)}

    def sentence_scores(
        self, outputs: Sequence[str], *references: Sequence[str]
    ) -> list[Mapping[str, seqx.Score]]:
        """Return the score of each output, as the option --sentence-level of sacreBLEU computes it."""
        scorer = self.scorer(sentences=True)
        texts = zip(*(map(self.prepare, texts) for texts in (outputs, *references)), strict=True)
        results = [scorer.sentence_score(output, of_output) for output, *of_output in texts]
        return [{self.name: self._score(result, scorer)} for result in results]

    def significance(
        self, baseline: Sequence[str], outputs: Sequence[str], *references: Sequence[str], resamples: int
    ) -> Mapping[str, seqx.Significance]:
        """Test the difference with sacreBLEU's paired bootstrap test, as its option --paired-bs does."""
        from sacrebleu.significance import PairedTest  # noqa: PLC0415

        before, after, *others = (
            list(map(self.prepare, texts)) for texts in (baseline, outputs, *references)
        )
        test: Any = PairedTest(
            [("baseline", before), ("outputs", after)],
            {self.name: self.scorer(sentences=False)},
            others,
            test_type="bs",
            n_samples=resamples,
        )
        signatures, results = test()
        ((name, signature),) = signatures.items()
        reference, result = results[name]
        # For equal scores sacreBLEU's p-value would be the smallest one.
        p_value = 1.0 if reference.score == result.score else float(result.p_value)
        return {self.name: seqx.Significance(p_value=p_value, signature=self.signature(str(signature)))}

    def score_names(self) -> Sequence[str]:
        """Return the name of the score, without importing sacreBLEU."""
        return [self.name]

    def _score(self, result: Any, scorer: Any) -> seqx.Score:
        """Return the score of a result of sacreBLEU; with resamples, it has an interval."""
        interval = seqx.Interval(mean=result._mean, margin=result._ci) if scorer.n_bootstrap else None  # noqa: SLF001
        return seqx.Score(
            value=result.score,
            signature=self.signature(str(scorer.get_signature())),
            lower_is_better=self.lower_is_better,
            interval=interval,
        )


def _use_plain_numbers(scorer: Any) -> None:
    """Make a metric of sacreBLEU score each bootstrap resample with Python's numbers.

    With those of numpy, some of its scores are of type float and some of float32, and their mean fails.
    """
    compute = scorer._compute_score_from_stats  # noqa: SLF001
    scorer._compute_score_from_stats = lambda counts: compute([*map(float, counts)])  # noqa: SLF001
