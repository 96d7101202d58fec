"""Translation: text in, text out."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt

import seqx
from seqx_translation.pieces import pieces

# Metrics are tried on this before anything is trained: a missing package shows at once.
_TRIAL = ["This is a trial of some words."]


@dataclass(kw_only=True, eq=False)
class Translation(seqx.Task):
    """Translates one column of a corpus into another.

    Args:
        corpus: where sentence pairs come from
        tokenizer: what makes ids of text; of both languages together, unless `target_tokenizer` is set
        target_tokenizer: another tokenizer for the target language
        source_normalizers: what source text passes through before it is tokenized, in this order
        target_normalizers: the same for target text; outputs pass back through it in reverse
        metrics: how outputs are judged, the one that counts first
        longest: most tokens a side, with EOS, of a pair that is trained on; longer pairs are dropped
        ratio: most tokens of the longer side for one of the shorter; other pairs are dropped as badly matched
        source: the column of the corpus that is translated, from 0
        target: the column that it is translated into
        sample_segmentation: whether each epoch draws other segmentations of the training text (subword
            regularisation, Kudo 2018); how far they stray is the tokenizer's setting
        tags: first words of sources that say what is wanted, as <2de>: what has each of them is scored by
            itself, the mean counts first, and each part of a text that is too long has its tag
    """

    corpus: seqx.Corpus
    tokenizer: seqx.Tokenizer
    target_tokenizer: seqx.Tokenizer | None = None
    source_normalizers: list[seqx.Normalizer] = field(default_factory=list)
    target_normalizers: list[seqx.Normalizer] = field(default_factory=list)
    metrics: list[seqx.Metric]
    longest: Annotated[int, Gt(1)] = 256
    ratio: Annotated[float, Ge(1)] = 4.0
    source: Annotated[int, Ge(0)] = 0
    target: Annotated[int, Ge(0)] = 1
    sample_segmentation: bool = False
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(f"source and target are the same column of the corpus, {self.source}")
        if not self.metrics:
            raise ValueError("metrics is empty; name one at least, as in metrics: [bleu]")
        if len({tag.strip("<>") for tag in self.tags}) < len(self.tags) or not all(self.tags):
            raise ValueError("tags: give each tag once, and none that is empty")
        self.stochastic = self.sample_segmentation
        self._surfaces: seqx.Surfaces | None = None

    @property
    def unique(self) -> bool:
        """Whether training rows that are repeated are to be left out, as the corpus says."""
        return self.corpus.unique

    @property
    def sizes(self) -> Mapping[str, int]:
        """The vocabularies of "source" and "target"."""
        return {"source": self.tokenizer.size, "target": self._target_tokenizer.size}

    def fetch(self, folder: Path, progress: seqx.Progress, splits: Sequence[str] = seqx.SPLITS) -> None:
        """Have the corpus at hand, with rows in each of `splits`, and metrics that work."""
        self._scores(_TRIAL, _TRIAL)
        self.corpus.fetch(folder, progress, splits)
        for split in splits:
            if next(self.rows(split), None) is None:
                raise seqx.UserError(f"the corpus has no rows for {split}")

    def identity(self) -> Mapping[str, object]:
        """What the corpus's rows are made from."""
        return {"corpus": self.corpus.identity()}

    def learn(self, folder: Path, progress: seqx.Progress) -> None:
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

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Source and target of each pair."""
        for row in self.corpus.rows(split):
            if max(self.source, self.target) >= len(row):
                raise seqx.UserError(
                    f"task.source is {self.source} and task.target {self.target}, "
                    f"but the corpus has {len(row)} columns, counted from 0"
                )
            yield row[self.source], row[self.target]

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Dropped:
        """The ids of both sides, with EOS."""
        text = self._normalize(row)
        if training and not all(side.strip() for side in text):
            return seqx.Dropped("empty")
        source, target = self._ids(*text)
        shorter, longer = sorted((len(source), len(target)))
        if training and longer > self.longest:
            return seqx.Dropped("too long")
        if training and longer > self.ratio * shorter:
            return seqx.Dropped("badly matched")
        return seqx.Example(
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
        """The ids of a sentence to translate, with EOS."""
        return {"source": [*self.tokenizer.encode(_through(self.source_normalizers, text)), seqx.EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """A translation as a person is to read it."""
        answer = self._target_tokenizer.decode(ids)
        for normalizer in reversed(self.target_normalizers):
            answer = normalizer.restore(answer)
        return answer

    def pieces(self, text: str, longest: int) -> list[str]:
        """A text of more than `longest` tokens as its sentences, and these as parts where they must be."""
        tag, rest = self._tag(text)
        before = f"{tag} " if tag else ""
        parts = pieces(rest, lambda part: len(self.read(before + part)["source"]) <= longest)
        return [before + part for part in parts]

    def inputs(self, split: str) -> list[str]:
        """The source sentences of a split."""
        return [source for source, _ in self.rows(split)]

    def references(self, split: str) -> list[str]:
        """The target sentences of a split."""
        return [target for _, target in self.rows(split)]

    def constraint(self, requests: Sequence[seqx.Request]) -> seqx.Grammar:
        """What lets only translations be written that begin as they are to, with and without phrases."""
        if self._surfaces is None:
            self._surfaces = seqx.Surfaces(self._target_tokenizer.surfaces())
        return seqx.LexicalGrammar(self._surfaces, [self._wanted(request) for request in requests])

    def evaluate(self, predictor: seqx.Predictor, split: str) -> seqx.Evaluation:
        """Translate a split and compare with its references, by every metric."""
        inputs, references = self.inputs(split), self.references(split)
        outputs = predictor(inputs)
        answers = [
            seqx.Answer(input=source, output=output, reference=reference)
            for source, output, reference in zip(inputs, outputs, references, strict=True)
        ]
        return seqx.Evaluation(scores=self._scores_by_tag(inputs, outputs, references), answers=answers)

    @property
    def _target_tokenizer(self) -> seqx.Tokenizer:
        return self.target_tokenizer or self.tokenizer

    def _wanted(self, request: seqx.Request) -> seqx.Wanted:
        """What is asked for, as the model writes it."""
        assert self._surfaces is not None
        prefix = _through(self.target_normalizers, request.prefix) if request.prefix else ""
        surfaces = [self._surfaces.texts[i] for i in self._target_tokenizer.encode(prefix)]
        if None in surfaces:
            raise seqx.UserError(
                f"the prefix {request.prefix!r} has a character that the model's vocabulary cannot write"
            )
        return seqx.Wanted(
            prefix=b"".join(surface for surface in surfaces if surface is not None),
            require=self._phrases(request.require),
            forbid=self._phrases(request.forbid),
        )

    def _phrases(self, phrases: Sequence[str]) -> tuple[str, ...]:
        through = (_through(self.target_normalizers, phrase).strip() for phrase in phrases)
        return tuple(dict.fromkeys(phrase for phrase in through if phrase))

    def _normalize(self, row: Sequence[str]) -> tuple[str, str]:
        return _through(self.source_normalizers, row[0]), _through(self.target_normalizers, row[1])

    def _normalized(self, split: str) -> Iterator[tuple[str, str]]:
        return map(self._normalize, self.rows(split))

    def _ids(self, source: str, target: str, rng: random.Random | None = None) -> tuple[list[int], list[int]]:
        return (
            [*self.tokenizer.encode(source, rng), seqx.EOS],
            [*self._target_tokenizer.encode(target, rng), seqx.EOS],
        )

    def _tag(self, text: str) -> tuple[str, str]:
        """The tag of a source, "" where it has none, and the rest."""
        first, _, rest = text.lstrip().partition(" ")
        return (first, rest) if first in self.tags else ("", text)

    def _scores_by_tag(
        self, inputs: Sequence[str], outputs: Sequence[str], references: Sequence[str]
    ) -> Mapping[str, seqx.Score]:
        """Each metric's scores of what has each tag, behind their mean; without tags, of the whole."""
        if not self.tags:
            return self._scores(outputs, references)
        parts: dict[str, tuple[list[str], list[str]]] = {tag: ([], []) for tag in self.tags}
        for text, *pair in zip(inputs, outputs, references, strict=True):
            tag, _ = self._tag(text)
            if not tag:
                raise seqx.UserError(
                    f"task.tags: the source {text[:40]!r} begins with none of {', '.join(self.tags)}; "
                    "put tags before the text, as the corpus tagged does"
                )
            for side, one in zip(parts[tag], pair, strict=True):
                side.append(one)
        found = {tag: self._scores(*sides) for tag, sides in parts.items() if sides[0]}
        each = {
            f"{name}.{tag.strip('<>')}": score
            for tag, scores in found.items()
            for name, score in scores.items()
        }
        means = {}
        for name, first in next(iter(found.values())).items():
            value = sum(scores[name].value for scores in found.values()) / len(found)
            means[name] = seqx.Score(value=value, signature=f"mean of:{'+'.join(found)}|{first.signature}")
        return means | each

    def _scores(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        scores: dict[str, seqx.Score] = {}
        for metric in self.metrics:
            found = metric(outputs, references)
            if twice := found.keys() & scores.keys():
                raise seqx.UserError(
                    f"task.metrics: {', '.join(sorted(twice))} is computed twice; name it once"
                )
            scores |= found
        return scores


def _through(normalizers: Sequence[seqx.Normalizer], text: str) -> str:
    for normalizer in normalizers:
        text = normalizer(text)
    return text
