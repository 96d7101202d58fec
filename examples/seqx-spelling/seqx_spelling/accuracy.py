"""The metric of spelling correction."""

from collections.abc import Mapping, Sequence

import seqx


class WordAccuracy(seqx.Metric):
    """The percentage of outputs that are equal to their reference."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Compare output i with reference i; without outputs the accuracy is 0."""
        correct = sum(output == reference for output, reference in zip(outputs, references, strict=True))
        value = 100 * correct / max(len(references), 1)
        return {"accuracy": seqx.Score(value=value, signature=f"exact|words:{len(references)}")}
