"""How many answers are right."""

from collections.abc import Mapping, Sequence

import seqx


class WordAccuracy(seqx.Metric):
    """The share of outputs that are exactly their reference, in percent."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Compare output i with reference i; no outputs score 0."""
        right = sum(output == reference for output, reference in zip(outputs, references, strict=True))
        value = 100 * right / max(len(references), 1)
        return {"accuracy": seqx.Score(value=value, signature=f"exact|words:{len(references)}")}
