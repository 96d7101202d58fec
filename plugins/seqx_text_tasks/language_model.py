"""The task of language modelling."""

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

import seqx

_WORD = "a "  # any word
_MAX_COUNTS = 1 << 16  # words whose numbers of tokens are kept


@dataclass(kw_only=True, eq=False)
class LanguageModel(seqx.GenerationTask, seqx.CorpusTask):
    """Language modelling: each token is predicted from the preceding ones (Bengio et al. 2003).

    The lines of the corpus are documents, paragraphs or sentences; each ends with EOS. Empty lines are
    skipped. A line of more than `max_length` tokens is split between words, and continues in the next
    example.

    Args:
        corpus: the corpus of the text
        tokenizer: the tokenizer of the text
        normalizers: applied to text in this order before tokenization; undone on outputs in reverse order
        examples: content of an example: one line (`lines`), or as many lines as fit into `max_length` tokens
            (`blocks`)
        max_length: maximum number of tokens of an example, including EOS
        column: the corpus column of the text, counted from 0
        sample_segmentation: sample another segmentation of the training text in each epoch (subword
            regularisation, Kudo 2018); the tokenizer's settings control its strength
    """

    action = "generate"
    next_commands = ("echo {start} | seqx generate {model}",)
    starting_point = seqx.StartingPoint(
        columns=("text",), template=Path(__file__).parent / "starting_points/language_model.yaml", stacks=1
    )
    many_eos = True

    renamed: ClassVar[Mapping[str, str]] = {"longest": "max_length"}

    tokenizer: seqx.Tokenizer
    normalizers: list[seqx.Normalizer] = field(default_factory=list)
    examples: Literal["lines", "blocks"] = "lines"
    max_length: Annotated[int, Gt(1)] = 256
    column: Annotated[int, Ge(0)] = 0
    sample_segmentation: bool = False

    def __post_init__(self) -> None:
        self.resegments = self.sample_segmentation
        self._counts: dict[str, int] = {}  # tokens that a word adds, for the loaded vocabulary

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The size of the vocabulary, shared by "source" and "target"."""
        return {"source": self.tokenizer.size, "target": self.tokenizer.size}

    def columns(self) -> Mapping[str, int]:
        """Return the corpus column of the text."""
        return {"column": self.column}

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch the corpus, and check that each of `splits` has text."""
        self.corpus.fetch(folder, progress, splits)
        for split in splits:
            if next(self._lines(split), None) is None:
                raise seqx.UserError(f"the corpus has no text for {split}; add lines that are not empty")

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Train the tokenizer on the training text."""
        progress("learning the vocabulary", None)
        self.tokenizer.learn(self._lines("train"), folder / "tokenizer")

    def extend(self, old: Path, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Extend the vocabulary of a model."""
        progress("extending the vocabulary", None)
        self.tokenizer.extend(self._lines("train"), old / "tokenizer", folder / "tokenizer")

    def load(self, folder: Path) -> None:
        """Load the vocabulary from `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        self._counts.clear()

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the normalized text of each example, with a line feed at the end of each line."""
        block, length = "", 0
        for line in self._lines(split):
            for part in self._split_line(line):
                count = len(self._ids(part)) if self.examples == "blocks" else self.max_length
                if block and length + count > self.max_length:
                    yield (block,)
                    block, length = "", 0
                block, length = block + part, length + count
        if block:
            yield (block,)

    def row_location(self, split: str, row: int) -> str:
        """Return the number of the example: lines are split and joined."""
        return f"example {row + 1:,} of {split}"

    def num_rows(self, split: str) -> int | None:
        """Return None: the text is divided into blocks when it is read."""
        return None

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of the text; the source is BOS."""
        target = self._ids(row[0])
        if training and len(target) > self.max_length:  # a single word can be longer than the limit
            return seqx.Rejected("too long")
        return seqx.Example(columns={"source": [seqx.BOS], "target": target}, text={"target": row[0]})

    def scored_example(self, texts: Sequence[str]) -> seqx.Example | seqx.Rejected:
        """Return the example of a line, which has no source."""
        if len(texts) != 1:
            raise seqx.UserError("the model is a language model, which has no source; name one file, TEXT")
        return self.example((f"{seqx.normalize(self.normalizers, texts[0])}\n",), training=False)

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Encode with a sampled segmentation, or without sampling if the sampled one is too long."""
        sampled = self._ids(text["target"], rng)
        target = sampled if len(sampled) <= self.max_length else self._ids(text["target"])
        return {"source": [seqx.BOS], "target": target}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return BOS and the ids of a prompt; the beginning of a long prompt is cut off."""
        ids = self._prompt(text)
        return {"source": [seqx.BOS, *ids[max(0, len(ids) - self.max_length + 1) :]]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the prompt and its continuation."""
        return seqx.denormalize(self.normalizers, self.tokenizer.decode([*self._prompt(text), *ids]))

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        """Return a warning that counts the prompt if it was truncated."""
        message = f"prompts have {self.max_length} tokens or more; only their ends were read"
        return [seqx.AnswerWarning(message, int(len(self._prompt(text)) >= self.max_length), 1)]

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return the symbols of ids."""
        return self.tokenizer.symbols(ids)

    def specification(self) -> seqx.TextSpec:
        """Return the tokenizer and the names of the normalizers; a source is BOS and a prompt."""
        tokenizer = seqx.describe(self.tokenizer, "tokenizer")
        normalizers = [type(each).__name__ for each in self.normalizers]
        return seqx.TextSpec(
            source=tokenizer,
            target=tokenizer,
            source_begins=["<s>"],
            source_ends=[],
            source_normalizers=normalizers,
            target_normalizers=normalizers,
        )

    def inputs(self, split: seqx.Split) -> list[str]:
        """Return an empty prompt for each example, so that the model writes the whole text."""
        return ["" for _ in split.rows]

    def references(self, split: seqx.Split) -> list[str]:
        """Return the text of each example, without the line feed at its end."""
        return [text.removesuffix("\n") for (text,) in split.rows]

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the three scores."""
        return ["bits_per_character", "word_perplexity", "token_perplexity"]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        """Compute bits per character, perplexity per word and perplexity per token of a split.

        The end of a line counts as a character, a word and a token. Bits per character and perplexity per
        word can be compared between vocabularies if no token is unknown; perplexity per token cannot.
        """
        examples = [
            seqx.Example(columns={"source": [seqx.BOS], "target": self._ids(text)}) for (text,) in split.rows
        ]
        scored = [
            (text, example.columns["target"], logprob)
            for (text,), example, logprob in zip(split.rows, examples, model.logprobs(examples), strict=True)
            if logprob is not None
        ]
        if not scored:
            raise seqx.UserError(
                f"{split.name}: no example is short enough to be scored; raise task.max_length"
            )
        texts, targets, logprobs = zip(*scored, strict=True)
        skipped = len(examples) - len(scored)
        nats = -math.fsum(logprobs)
        characters, tokens = sum(map(len, texts)), sum(map(len, targets))
        words = sum(len(text.split()) + text.count("\n") for text in texts)
        unknown = sum(target.count(seqx.UNK) for target in targets)
        signature = f"examples:{self.examples}|longest:{self.max_length}|line ends:count|unknown:{unknown}"
        signature += f"|left out:{skipped}" if skipped else ""
        perplexity = seqx.perplexity(nats / tokens)
        return seqx.Evaluation(
            scores={
                "bits_per_character": _lower_is_better(
                    nats / math.log(2) / characters, f"characters:{characters}|{signature}"
                ),
                "word_perplexity": _lower_is_better(
                    seqx.perplexity(nats / words), f"words:{words}|{signature}"
                ),
                "token_perplexity": _lower_is_better(perplexity, f"tokens:{tokens}|{signature}"),
            },
            perplexity=perplexity,
            warnings=[
                seqx.AnswerWarning(
                    f"examples have more than {model.max_length} tokens; the perplexity leaves them out",
                    skipped,
                    len(examples),
                )
            ],
        )

    def _prompt(self, text: str) -> list[int]:
        """Return the ids of a prompt."""
        return self.tokenizer.encode(seqx.normalize(self.normalizers, text))

    def _lines(self, split: str) -> Iterator[str]:
        """Yield the normalized, non-empty lines of a split."""
        for row in self.corpus.rows(split):
            (line,) = seqx.select_columns(row, {"task.column": self.column})
            text = seqx.normalize(self.normalizers, line.replace("\n", " "))
            if text.strip():
                yield text

    def _split_line(self, line: str) -> Iterator[str]:
        """Yield a line with a line feed, in several parts if it is too long; it is split between words."""
        if len(line.encode()) + 2 <= self.max_length or len(self._ids(line)) + 1 <= self.max_length:
            yield f"{line}\n"
            return
        part, length = "", 0
        for word in re.findall(r"\S+\s*|\s+", line):
            count = self._count_after_word(word)
            if part and length + count + 1 > self.max_length:
                yield part
                part = ""
            if not part:
                length, count = 0, len(self.tokenizer.encode(word))
            part, length = part + word, length + count
        yield f"{part}\n"

    def _count_after_word(self, word: str) -> int:
        """Return the number of tokens that a word adds to a text: the first word may have an additional one.

        SentencePiece, for example, begins each text with a space, and a space at its end is a token.
        """
        if word not in self._counts:
            if len(self._counts) == _MAX_COUNTS:
                self._counts.clear()
            alone, after = (len(self.tokenizer.encode(text)) for text in (_WORD, _WORD + word))
            self._counts[word] = after - alone
        return self._counts[word]

    def _ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the ids of text, with EOS for each line feed."""
        *lines, rest = text.split("\n")
        ids = [i for line in lines for i in (*self.tokenizer.encode(line, rng), seqx.EOS)]
        return ids + self.tokenizer.encode(rest, rng)


def _lower_is_better(value: float, signature: str) -> seqx.Score:
    return seqx.Score(value=value, signature=signature, lower_is_better=True)
