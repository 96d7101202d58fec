"""The error rate of recognised notes."""

from collections.abc import Mapping, Sequence

import seqx


class NoteErrorRate(seqx.Metric):
    """The percentage of wrong notes: insertions, deletions and substitutions, per note of the references."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Compare output i with reference i; without references the rate is 0."""
        pairs = [
            (output.split(), reference.split()) for output, reference in zip(outputs, references, strict=True)
        ]
        notes = sum(len(reference) for _, reference in pairs)
        value = 100 * sum(edit_distance(output, reference) for output, reference in pairs) / max(notes, 1)
        signature = f"edit distance|notes:{notes}"
        return {"note error rate": seqx.Score(value=value, signature=signature, lower_is_better=True)}


def edit_distance(output: Sequence[str], reference: Sequence[str]) -> int:
    """Return the smallest number of insertions, deletions and substitutions (Levenshtein 1966)."""
    row = list(range(len(reference) + 1))
    for i, symbol in enumerate(output, 1):
        diagonal, row[0] = row[0], i
        for j, expected in enumerate(reference, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (symbol != expected))
    return row[-1]
