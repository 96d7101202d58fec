"""The task of tagging: one label per word."""

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, MinLen
from pydantic import FailFast, TypeAdapter

import seqx
from seqx_tagging.tagger import Tagger

FIRST = seqx.UNK + 1  # the id of the first tag
_MAX_SUBWORDS = 64  # of a word that the model reads
_FILE = "tags.json"
_MAX_BYTES = 1 << 24
_TAGS = TypeAdapter(Annotated[list[str], MinLen(1), FailFast()])


@dataclass(kw_only=True, eq=False)
class Tagging(seqx.MetricTask):
    """Tagging of words, for example with parts of speech, chunks or names.

    A row has the words of a sentence and their tags, both separated by spaces. The source consists of the
    subwords of the words, and the target has one token per word: its tag.

    Args:
        tokenizer: splits the words into subwords
        max_length: maximum subwords of a training sentence, EOS included; longer ones are dropped
        words: the corpus column of the words, counted from 0
        tags: the corpus column of the tags, counted from 0
        sample_segmentation: sample new segmentations of the training words in each epoch (subword
            regularisation, Kudo 2018); a setting of the tokenizer controls how much they vary
    """

    action = "tag"
    next_commands = ("echo {input} | seqx tag --columns {model}",)
    starting_point = seqx.StartingPoint(
        columns=("words and tags in columns",),
        template=Path(__file__).with_name("starting_point.yaml"),
        stacks=1,
    )
    model_type = Tagger

    tokenizer: seqx.Tokenizer
    max_length: Annotated[int, Gt(1)] = 256
    words: Annotated[int, Ge(0)] = 0
    tags: Annotated[int, Ge(0)] = 1
    sample_segmentation: bool = False

    def __post_init__(self) -> None:
        if self.words == self.tags:
            raise ValueError(f"words and tags are the same corpus column, {self.words}; change one of them")
        super().__post_init__()
        self.resegments = self.sample_segmentation
        self._set_tags([])

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary sizes of "source" and "target"."""
        return {"source": self.tokenizer.size, "target": FIRST + len(self._tags)}

    def columns(self) -> Mapping[str, int]:
        """Return the columns of the corpus that the task reads."""
        return {"words": self.words, "tags": self.tags}

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Train the tokenizer on the training words, and collect the training tags."""
        progress("learning the vocabulary", None)
        self.tokenizer.learn((words for words, _ in self.rows("train")), folder / "tokenizer")
        self._write_tags([], folder)

    def extend(self, old: Path, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Extend the tokenizer of a model, and add the training tags that it lacks."""
        progress("extending the vocabulary", None)
        words = (words for words, _ in self.rows("train"))
        self.tokenizer.extend(words, old / "tokenizer", folder / "tokenizer")
        self._write_tags(seqx.read_json_as(_TAGS, old / _FILE, _MAX_BYTES), folder)

    def _write_tags(self, known: list[str], folder: Path) -> None:
        """Write the known tags and then those of the training rows, in alphabetical order."""
        tags = {tag for _, tags in self.rows("train") for tag in tags.split()}
        self._set_tags([*known, *sorted(tags.difference(known))])
        text = json.dumps(self._tags, indent=1, ensure_ascii=False)
        (folder / _FILE).write_text(text + "\n", "utf-8")

    def load(self, folder: Path) -> None:
        """Load the vocabulary from `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        self._set_tags(seqx.read_json_as(_TAGS, folder / _FILE, _MAX_BYTES))

    def _set_tags(self, tags: list[str]) -> None:
        """Set the tags of the vocabulary, in the order of their ids."""
        self._tags = tags
        self._ids = {tag: i for i, tag in enumerate(tags, FIRST)}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the words and the tags of each sentence."""
        columns = {"task.words": self.words, "task.tags": self.tags}
        for number, row in enumerate(self.corpus.rows(split)):
            words, tags = seqx.select_columns(row, columns)
            counts = len(words.split()), len(tags.split())
            if counts[0] != counts[1]:
                raise seqx.UserError(f"{self.corpus.row_location(split, number)}: {_unequal(*counts)}")
            yield words, tags

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the subwords of the words, and the ids of the tags."""
        text = {"source": row[0], "target": row[1]}
        columns = self._columns(text)
        if training and not columns["target"]:
            return seqx.Rejected("empty")
        if training and len(columns["source"]) > self.max_length:
            return seqx.Rejected("too long")
        if training and seqx.UNK in columns["target"]:  # with the vocabulary of another model
            return seqx.Rejected("with tags that the vocabulary lacks")
        return seqx.Example(columns=columns, text=text)

    def scored_example(self, texts: Sequence[str]) -> seqx.Example | seqx.Rejected:
        """Return the example of a sentence and its tags.

        Raises:
            UserError: the sentence has another number of words, or the model does not have a tag
        """
        example = super().scored_example(texts)
        words, tags = (text.split() for text in texts)
        if len(words) != len(tags):
            raise seqx.UserError(_unequal(len(words), len(tags)))
        if unknown := next((tag for tag in tags if tag not in self._ids), None):
            raise seqx.UserError(f"the model has no tag {unknown[:40]!r}; correct or remove the line")
        return example

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Encode with a sampled segmentation, or with the usual one if the sampled one is too long."""
        sampled = self._columns(text, rng)
        return sampled if len(sampled["source"]) <= self.max_length else self._columns(text)

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the subwords of a sentence with EOS, and for each of them 1 if it begins a word, else 0."""
        return self._source(text.split())

    def answer(
        self, model: seqx.Model, inputs: seqx.Inputs, search: seqx.Search | None
    ) -> list[list[seqx.Candidate]]:
        """Return the most probable tag of each word, in one answer per sentence."""
        source = inputs.batch.columns["source"].values
        lengths = [sum(columns[seqx.WORDS]) for columns in inputs.columns]
        # The model predicts each token of the target, and does not read it.
        unknown = torch.full((len(lengths), max(lengths)), seqx.UNK)
        target = seqx.Column.of(unknown, torch.tensor(lengths)).to(source.device)
        batch = seqx.Batch({**inputs.batch.columns, "target": target}, sum(lengths))
        logprobs = model.head(model(batch)).float().log_softmax(-1)[..., FIRST:]
        best = logprobs.max(-1)
        rows = zip(best.indices.tolist(), best.values.tolist(), lengths, strict=True)
        return [[self._candidate(tags[:length], values[:length])] for tags, values, length in rows]

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return the subwords of the source, or the tags of the target."""
        if column == "source":
            return self.tokenizer.symbols(ids)
        return [self._tags[i - FIRST] if i >= FIRST else "?" for i in ids]

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """Split a sentence of more than `max_length` subwords into parts, between words."""
        parts, length = [list[str]()], 1
        for word in text.split():
            count = len(self._subwords(word))
            if parts[-1] and length + count > max_length:
                parts.append([])
                length = 1
            parts[-1].append(word)
            length += count
        return [" ".join(part) for part in parts]

    def mistakes(self, answers: Sequence[seqx.Answer]) -> list[seqx.MistakeGroup]:
        """Return the tags that were predicted instead of others."""
        pairs = (
            seqx.LabelPair(
                i,
                output.group() if output else "",
                reference.group() if reference else "",
                word.group() if word else "",
                {
                    side: [found.span()]
                    for side, found in (("input", word), ("output", output), ("reference", reference))
                    if found
                },
            )
            for i, answer in enumerate(answers)
            for word, output, reference in zip_longest(
                *(re.finditer(r"\S+", text) for text in (answer.input, answer.output, answer.reference))
            )
        )
        return seqx.label_mistakes(pairs, "words")

    def _candidate(self, tags: Sequence[int], logprobs: Iterable[float]) -> seqx.Candidate:
        logprob = sum(logprobs)
        hypothesis = seqx.Hypothesis(ids=[tag + FIRST for tag in tags], score=logprob, logprob=logprob)
        return seqx.Candidate(" ".join(self._tags[tag] for tag in tags), hypothesis)

    def _columns(self, text: Mapping[str, str], rng: random.Random | None = None) -> dict[str, list[int]]:
        target = [self._ids.get(tag, seqx.UNK) for tag in text["target"].split()]
        return {**self._source(text["source"].split(), rng), "target": target}

    def _source(self, words: Iterable[str], rng: random.Random | None = None) -> dict[str, list[int]]:
        source, starts = list[int](), list[int]()
        for word in words:
            subwords = self._subwords(word, rng)
            source += subwords
            starts += [1, *[0] * (len(subwords) - 1)]
        return {"source": [*source, seqx.EOS], seqx.WORDS: [*starts, 0]}

    def _subwords(self, word: str, rng: random.Random | None = None) -> list[int]:
        """Return at least one subword of a word."""
        limit = min(_MAX_SUBWORDS, self.max_length - 1)
        return self.tokenizer.encode(word, rng)[:limit] or [seqx.UNK]


def _unequal(words: int, tags: int) -> str:
    return f"{words} words have {tags} tags; each word needs one tag"
