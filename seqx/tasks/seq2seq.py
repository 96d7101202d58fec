"""The base class of tasks from text to text, such as translation."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Gt

from seqx.constraints import LexicalConstraint, LexicalGrammar, Surfaces
from seqx.errors import UserError
from seqx.interfaces.learning import Grammar
from seqx.interfaces.task import Example, Rejected, Request
from seqx.interfaces.tensors import EOS
from seqx.interfaces.text import Normalizer, ProgressReporter, Tokenizer
from seqx.tasks.metric import MetricTask


@dataclass(kw_only=True, eq=False)
class Seq2SeqTask(MetricTask):
    """A task from text to text, such as translation, summarization or question answering.

    A subclass implements `rows`, which yields pairs of source and target text.

    Args:
        tokenizer: the tokenizer of both sides, unless `target_tokenizer` is set
        target_tokenizer: the tokenizer of the target
        source_normalizers: applied to source text before tokenization, in this order
        target_normalizers: applied to target text before tokenization, and undone in outputs
        max_length: maximum tokens of each side of a training pair, EOS included; longer pairs are dropped
        sample_segmentation: true: sample new segmentations of the training text in each epoch (subword
            regularization, Kudo 2018); a setting of the tokenizer controls how much they vary
    """

    renamed: ClassVar[Mapping[str, str]] = {"longest": "max_length"}  # old and new names of settings

    tokenizer: Tokenizer
    target_tokenizer: Tokenizer | None = None
    source_normalizers: list[Normalizer] = field(default_factory=list)
    target_normalizers: list[Normalizer] = field(default_factory=list)
    max_length: Annotated[int, Gt(1)] = 256
    sample_segmentation: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resegments = self.sample_segmentation
        self._surfaces: Surfaces | None = None

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary sizes of "source" and "target"."""
        return {"source": self.tokenizer.size, "target": self._target_tokenizer.size}

    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Learn the vocabulary or both vocabularies from the training rows."""
        progress("learning the vocabulary", None)
        rows = self._normalized("train")
        if self.target_tokenizer is None:
            self.tokenizer.learn(chain.from_iterable(rows), folder / "tokenizer")
        else:
            self.tokenizer.learn((source for source, _ in rows), folder / "tokenizer")
            targets = (target for _, target in self._normalized("train"))
            self.target_tokenizer.learn(targets, folder / "target_tokenizer")

    def load(self, folder: Path) -> None:
        """Load the vocabularies in `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        if self.target_tokenizer is not None:
            self.target_tokenizer.load(folder / "target_tokenizer")
        self._surfaces = None

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """Return the ids of both sides with EOS, or the reason to reject a training row."""
        text = self._normalize(row)
        if training and not all(side.strip() for side in text):
            return Rejected("empty")
        source, target = self._ids(*text)
        if training and max(len(source), len(target)) > self.max_length:
            return Rejected("too long")
        return Example(
            columns={"source": source, "target": target}, text={"source": text[0], "target": text[1]}
        )

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Return the ids of a sampled segmentation of both sides; the best one if the sample is too long."""
        best = self._ids(text["source"], text["target"])
        sampled = self._ids(text["source"], text["target"], rng)
        limit = max(self.max_length, *map(len, best))
        source, target = (
            sampled_ids if len(sampled_ids) <= limit else best_ids
            for sampled_ids, best_ids in zip(sampled, best, strict=True)
        )
        return {"source": source, "target": target}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the ids of an input with EOS."""
        return {"source": self.source_ids(self.source_text(text))}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the text of an output, with the target normalizers undone."""
        return denormalize(self.target_normalizers, self._target_tokenizer.decode(ids))

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return the symbols of ids of the column "source" or "target"."""
        tokenizer = self._target_tokenizer if column == "target" else self.tokenizer
        return tokenizer.symbols(ids)

    def source_text(self, text: str) -> str:
        """Return the normalized text of an input."""
        return normalize(self.source_normalizers, text)

    def source_ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Tokenize a text from `source_text`, and append EOS."""
        return [*self.tokenizer.encode(text, rng), EOS]

    def constraint(self, requests: Sequence[Request]) -> Grammar:
        """Return the grammar of answers with the requested prefixes and phrases."""
        if self._surfaces is None:
            self._surfaces = Surfaces(self._target_tokenizer.surfaces())
        return LexicalGrammar(
            self._surfaces, [self._constraint(self._surfaces, request) for request in requests]
        )

    def _constraint(self, surfaces: Surfaces, request: Request) -> LexicalConstraint:
        """Return the constraint of a request, with normalized text.

        Raises:
            UserError: the vocabulary cannot write the prefix
        """
        prefix = normalize(self.target_normalizers, request.prefix) if request.prefix else ""
        texts = [surfaces.texts[i] for i in self._target_tokenizer.encode(prefix)]
        if None in texts:
            raise UserError(
                f"the prefix {request.prefix!r} has a character that the model's vocabulary cannot write; "
                "remove the character"
            )
        return LexicalConstraint(
            prefix=b"".join(text for text in texts if text is not None),
            require=self._phrases(request.require),
            forbid=self._phrases(request.forbid),
        )

    def _phrases(self, phrases: Sequence[str]) -> tuple[str, ...]:
        normalized = (normalize(self.target_normalizers, phrase).strip() for phrase in phrases)
        return tuple(dict.fromkeys(phrase for phrase in normalized if phrase))

    @property
    def _target_tokenizer(self) -> Tokenizer:
        return self.target_tokenizer or self.tokenizer

    def _normalize(self, row: Sequence[str]) -> tuple[str, str]:
        return self.source_text(row[0]), normalize(self.target_normalizers, row[1])

    def _normalized(self, split: str) -> Iterator[tuple[str, str]]:
        return map(self._normalize, self.rows(split))

    def _ids(self, source: str, target: str, rng: random.Random | None = None) -> tuple[list[int], list[int]]:
        return self.source_ids(source, rng), [*self._target_tokenizer.encode(target, rng), EOS]


def normalize(normalizers: Sequence[Normalizer], text: str) -> str:
    """Apply normalizers to a text, the first one first."""
    for normalizer in normalizers:
        text = normalizer(text)
    return text


def denormalize(normalizers: Sequence[Normalizer], text: str) -> str:
    """Undo normalizers in an output, the last one first."""
    for normalizer in reversed(normalizers):
        text = normalizer.restore(text)
    return text
