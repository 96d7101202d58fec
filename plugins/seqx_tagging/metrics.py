"""Metrics of tags, which are separated by spaces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import seqx


@dataclass(frozen=True, kw_only=True)
class TagAccuracy(seqx.Metric):
    """Percentage of words with the correct tag; a missing tag is wrong."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the score of the split, as `tag_accuracy`."""
        correct = words = 0
        for output, reference in zip(outputs, references, strict=True):
            tags = reference.split()
            words += len(tags)
            correct += sum(map(str.__eq__, output.split(), tags))
        value = 100 * correct / words if words else 0.0
        signature = f"right:{correct}|of:{words}"
        return {"tag_accuracy": seqx.Score(value=value, signature=signature, results=("right",))}


@dataclass(frozen=True, kw_only=True)
class SpanF1(seqx.Metric):
    """F1 of labelled spans in tags such as B-PER, I-PER and O, from 0 to 100 (Tjong Kim Sang 2000).

    A span is correct if its label, its first and its last word are. I- begins a span if the tag before it is
    O or has another label, and other tags than B-, I- and O are not part of a span. NLTK counts the spans.
    """

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the F1 of all spans of the split, as `span_f1`."""
        from nltk.chunk.util import ChunkScore, conlltags2tree  # noqa: PLC0415  NLTK is slow to import

        score = ChunkScore(chunk_label=".*")
        for output, reference in zip(outputs, references, strict=True):
            tags = reference.split()
            gold, guess = (conlltags2tree([*_columns(each, len(tags))]) for each in (tags, output.split()))
            score.score(gold, guess)
        found, wanted = len(score.guessed()), len(score.correct())
        signature = f"precision:{100 * score.precision():.2f}|recall:{100 * score.recall():.2f}"
        value = 100 * score.f_measure()
        signature += f"|found:{found}|wanted:{wanted}|nltk"
        results = ("precision", "recall", "found")
        return {"span_f1": seqx.Score(value=value, signature=signature, results=results)}

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Return a warning if the references have no span."""
        if any(tag.startswith(("B-", "I-")) for reference in references for tag in reference.split()):
            return ()
        return ["span_f1: no tag of the references begins with B- or I-, so there are no spans to count"]


def _columns(tags: Sequence[str], length: int) -> Iterator[tuple[str, str, str]]:
    """Yield the columns word, part of speech and chunk of NLTK; the word is its number."""
    for number in range(length):
        tag = tags[number] if number < len(tags) else "O"
        yield str(number), "", tag if tag[:2] in ("B-", "I-") else "O"
