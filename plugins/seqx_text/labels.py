"""How well labels are told: accuracy and F1."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import seqx


@dataclass(frozen=True, kw_only=True)
class Accuracy(seqx.Metric):
    """The share of outputs that are the reference, from 0 to 100; white space around them aside."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """The score of the whole, as `accuracy`."""
        right = sum(
            output.strip() == reference.strip() for output, reference in zip(outputs, references, strict=True)
        )
        value = 100 * right / len(references) if references else 0.0
        return {"accuracy": seqx.Score(value=value, signature=f"right:{right}|of:{len(references)}")}


@dataclass(frozen=True, kw_only=True)
class F1(seqx.Metric):
    """F1 of labels, from 0 to 100: the mean over labels, and that of each (van Rijsbergen 1979, chapter 7).

    The labels are those of the references. F1 of a label is 2 TP / (2 TP + FP + FN), so that one that is
    never output has 0.

    Args:
        each: whether the F1 of each label is told, too
    """

    each: bool = True

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """The mean as `macro_f1`; each label's as `f1(LABEL)`, in alphabetical order."""
        pairs = [
            (output.strip(), reference.strip()) for output, reference in zip(outputs, references, strict=True)
        ]
        said, wanted = Counter(output for output, _ in pairs), Counter(reference for _, reference in pairs)
        right = Counter(reference for output, reference in pairs if output == reference)
        values = {label: 200 * right[label] / (said[label] + wanted[label]) for label in sorted(wanted)}
        mean = sum(values.values()) / len(values) if values else 0.0
        scores = {"macro_f1": seqx.Score(value=mean, signature=f"labels:{len(values)}|of:references")}
        if self.each:
            for label, value in values.items():
                how = f"right:{right[label]}|said:{said[label]}|wanted:{wanted[label]}"
                scores[f"f1({label})"] = seqx.Score(value=value, signature=how)
        return scores
