"""Metrics of classification: accuracy and F1."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import seqx


@dataclass(frozen=True, kw_only=True)
class Accuracy(seqx.Metric):
    """Percentage of outputs that equal the reference; leading and trailing white space is ignored."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the score of the split, as `accuracy`."""
        correct = sum(
            output.strip() == reference.strip() for output, reference in zip(outputs, references, strict=True)
        )
        value = 100 * correct / len(references) if references else 0.0
        signature = f"right:{correct}|of:{len(references)}"
        return {"accuracy": seqx.Score(value=value, signature=signature, results=("right",))}


@dataclass(frozen=True, kw_only=True)
class F1(seqx.Metric):
    """F1 of labels, from 0 to 100: macro average and per label (van Rijsbergen 1979, chapter 7).

    The labels are those of the references. The F1 of a label is 2 TP / (2 TP + FP + FN), so a label that is
    never predicted has 0.

    Args:
        each: also report the F1 of each label
    """

    each: bool = True

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the mean as `macro_f1`, and each label's F1 as `f1(LABEL)` in alphabetical order."""
        pairs = [
            (output.strip(), reference.strip()) for output, reference in zip(outputs, references, strict=True)
        ]
        predicted, gold = Counter(output for output, _ in pairs), Counter(reference for _, reference in pairs)
        correct = Counter(reference for output, reference in pairs if output == reference)
        values = {label: 200 * correct[label] / (predicted[label] + gold[label]) for label in sorted(gold)}
        mean = sum(values.values()) / len(values) if values else 0.0
        scores = {"macro_f1": seqx.Score(value=mean, signature=f"labels:{len(values)}|of:references")}
        if self.each:
            for label, value in values.items():
                signature = f"right:{correct[label]}|said:{predicted[label]}|wanted:{gold[label]}"
                results = ("right", "said")
                scores[f"f1({label})"] = seqx.Score(
                    value=value, signature=signature, results=results, is_detail=True
                )
        return scores
