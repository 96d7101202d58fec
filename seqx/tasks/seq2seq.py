"""A task from text to text: pairs of a corpus, tokenized on both sides."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated

from annotated_types import Gt

from seqx.constraints import LexicalConstraint, LexicalGrammar, Surfaces
from seqx.errors import UserError
from seqx.interfaces.learning import Grammar
from seqx.interfaces.text import Normalizer, ProgressReporter, Tokenizer
from seqx.interfaces.values import EOS, Example, Rejected, Request
from seqx.tasks.metric import MetricTask, denormalize, normalize


@dataclass(kw_only=True, eq=False)
class Seq2SeqTask(MetricTask):
    """A task from text to text: translation, summaries, answers to questions.

    A subclass says in `rows` which pairs a corpus has.

    Args:
        tokenizer: what makes ids of text; of both sides together, unless `target_tokenizer` is set
        target_tokenizer: another tokenizer for the target
        source_normalizers: what source text passes through before it is tokenized, in this order
        target_normalizers: the same for target text; outputs pass back through it in reverse
        longest: most tokens a side, with EOS, of a pair that is trained on; longer pairs are dropped
        sample_segmentation: whether each epoch draws other segmentations of the training text (subword
            regularisation, Kudo 2018); how far they stray is the tokenizer's setting
    """

    tokenizer: Tokenizer
    target_tokenizer: Tokenizer | None = None
    source_normalizers: list[Normalizer] = field(default_factory=list)
    target_normalizers: list[Normalizer] = field(default_factory=list)
    longest: Annotated[int, Gt(1)] = 256
    sample_segmentation: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resegments = self.sample_segmentation
        self._surfaces: Surfaces | None = None

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabularies of "source" and "target"."""
        return {"source": self.tokenizer.size, "target": self._target_tokenizer.size}

    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Learn the vocabulary, or both, from the training rows."""
        progress("learning the vocabulary", None)
        rows = self._normalized("train")
        if self.target_tokenizer is None:
            self.tokenizer.learn(chain.from_iterable(rows), folder / "tokenizer")
        else:
            self.tokenizer.learn((source for source, _ in rows), folder / "tokenizer")
            targets = (target for _, target in self._normalized("train"))
            self.target_tokenizer.learn(targets, folder / "target_tokenizer")

    def load(self, folder: Path) -> None:
        """Use the vocabularies in `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        if self.target_tokenizer is not None:
            self.target_tokenizer.load(folder / "target_tokenizer")
        self._surfaces = None

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """The ids of both sides, with EOS."""
        text = self._normalize(row)
        if training and not all(side.strip() for side in text):
            return Rejected("empty")
        source, target = self._ids(*text)
        if training and max(len(source), len(target)) > self.longest:
            return Rejected("too long")
        return Example(
            columns={"source": source, "target": target}, text={"source": text[0], "target": text[1]}
        )

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """The ids of both sides in one of their several encodings; the usual one where that got too long."""
        usual = self._ids(text["source"], text["target"])
        drawn = self._ids(text["source"], text["target"], rng)
        limit = max(self.longest, *map(len, usual))
        source, target = (d if len(d) <= limit else u for d, u in zip(drawn, usual, strict=True))
        return {"source": source, "target": target}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """The ids of an input, with EOS."""
        return {"source": self.source_ids(self.source_text(text))}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """An answer as a person is to read it."""
        return denormalize(self.target_normalizers, self._target_tokenizer.decode(ids))

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """The pieces of either side."""
        tokenizer = self._target_tokenizer if column == "target" else self.tokenizer
        return tokenizer.symbols(ids)

    def source_text(self, text: str) -> str:
        """An input as the tokenizer is to see it."""
        return normalize(self.source_normalizers, text)

    def source_ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """The ids of what `source_text` gives, with EOS."""
        return [*self.tokenizer.encode(text, rng), EOS]

    def constraint(self, requests: Sequence[Request]) -> Grammar:
        """What lets only answers be written that begin as they are to, with and without phrases."""
        if self._surfaces is None:
            self._surfaces = Surfaces(self._target_tokenizer.surfaces())
        return LexicalGrammar(self._surfaces, [self._wanted(self._surfaces, request) for request in requests])

    def _wanted(self, surfaces: Surfaces, request: Request) -> LexicalConstraint:
        """What is asked for, as the model writes it."""
        prefix = normalize(self.target_normalizers, request.prefix) if request.prefix else ""
        written = [surfaces.texts[i] for i in self._target_tokenizer.encode(prefix)]
        if None in written:
            raise UserError(
                f"the prefix {request.prefix!r} has a character that the model's vocabulary cannot write"
            )
        return LexicalConstraint(
            prefix=b"".join(surface for surface in written if surface is not None),
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
