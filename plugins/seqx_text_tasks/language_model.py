"""Language modelling: running text, and how probable it is."""

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

import seqx


@dataclass(kw_only=True, eq=False)
class LanguageModel(seqx.CorpusTask):
    """Learns which text follows text (Bengio et al. 2003).

    A corpus's lines are documents, paragraphs or sentences; EOS is written for the end of each. Empty lines
    are left out. A line of more than `max_length` tokens is cut between words, and continues in the next
    example.

    Args:
        corpus: where lines come from
        tokenizer: what makes ids of text
        normalizers: what text passes through before it is tokenized, in this order; outputs pass back through
            it in reverse
        examples: training examples: `lines`, or `blocks` of as many lines as fit into `max_length` tokens
        max_length: most tokens of an example, EOS counted
        column: the column of the corpus that has the text, from 0
        sample_segmentation: whether each epoch draws other segmentations of the training text (subword
            regularisation, Kudo 2018); how far they stray is the tokenizer's setting
    """

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

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The one vocabulary, of "source" and "target"."""
        return {"source": self.tokenizer.size, "target": self.tokenizer.size}

    def columns(self) -> Mapping[str, int]:
        """The column of the text."""
        return {"column": self.column}

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Have the corpus at hand, with text in each of `splits`."""
        self.corpus.fetch(folder, progress, splits)
        for split in splits:
            if next(self._lines(split), None) is None:
                raise seqx.UserError(f"the corpus has no text for {split}")

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Learn the vocabulary from the training text."""
        progress("learning the vocabulary", None)
        self.tokenizer.learn(self._lines("train"), folder / "tokenizer")

    def load(self, folder: Path) -> None:
        """Use the vocabulary in `folder`."""
        self.tokenizer.load(folder / "tokenizer")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The text of each example, normalized, with a line feed where a line ends."""
        block, places = "", 0
        for line in self._lines(split):
            for part in self._parts(line):
                count = len(self._ids(part)) if self.examples == "blocks" else self.max_length
                if block and places + count > self.max_length:
                    yield (block,)
                    block, places = "", 0
                block, places = block + part, places + count
        if block:
            yield (block,)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """The ids of the text; the source is BOS."""
        target = self._ids(row[0])
        if training and len(target) > self.max_length:  # of a word that is longer still
            return seqx.Rejected("too long")
        return seqx.Example(columns={"source": [seqx.BOS], "target": target}, text={"target": row[0]})

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """The ids in one of their several encodings; the usual one where that got too long."""
        drawn = self._ids(text["target"], rng)
        target = drawn if len(drawn) <= self.max_length else self._ids(text["target"])
        return {"source": [seqx.BOS], "target": target}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """BOS and the ids of a prompt, which the target goes on with; of a long one those at its end."""
        ids = self._prompt(text)
        return {"source": [seqx.BOS, *ids[max(0, len(ids) - self.max_length + 1) :]]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """The prompt and what follows it."""
        return seqx.denormalize(self.normalizers, self.tokenizer.decode([*self._prompt(text), *ids]))

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        """Count the prompt if it was truncated."""
        message = f"prompts have {self.max_length} tokens or more; only their ends were read"
        return [seqx.AnswerWarning(message, int(len(self._prompt(text)) >= self.max_length), 1)]

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """The tokenizer's pieces."""
        return self.tokenizer.symbols(ids)

    def inputs(self, split: seqx.Split) -> list[str]:
        """Return an empty prompt for each example, whose text is written from the beginning."""
        return ["" for _ in split.rows]

    def references(self, split: seqx.Split) -> list[str]:
        """Return the text of each example, without the line feed at its end."""
        return [text.removesuffix("\n") for (text,) in split.rows]

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the three figures."""
        return ["bits_per_character", "word_perplexity", "token_perplexity"]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        """How probable the text of a split is: bits of a character, perplexities of a word and of a token.

        The end of a line counts as a character, a word and a token. Bits of a character and perplexities of a
        word are comparable between vocabularies, where no token is unknown; perplexities of a token are not.
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
        left_out = len(examples) - len(scored)
        nats = -math.fsum(logprobs)
        characters, tokens = sum(map(len, texts)), sum(map(len, targets))
        words = sum(len(text.split()) + text.count("\n") for text in texts)
        unknown = sum(target.count(seqx.UNK) for target in targets)
        how = f"examples:{self.examples}|longest:{self.max_length}|line ends:count|unknown:{unknown}"
        how += f"|left out:{left_out}" if left_out else ""
        perplexity = seqx.perplexity(nats / tokens)
        return seqx.Evaluation(
            scores={
                "bits_per_character": _lower_is_better(
                    nats / math.log(2) / characters, f"characters:{characters}|{how}"
                ),
                "word_perplexity": _lower_is_better(seqx.perplexity(nats / words), f"words:{words}|{how}"),
                "token_perplexity": _lower_is_better(perplexity, f"tokens:{tokens}|{how}"),
            },
            perplexity=perplexity,
            warnings=[
                seqx.AnswerWarning(
                    f"examples have more than {model.max_length} tokens; the perplexity leaves them out",
                    left_out,
                    len(examples),
                )
            ],
        )

    def _prompt(self, text: str) -> list[int]:
        return self.tokenizer.encode(seqx.normalize(self.normalizers, text))

    def _lines(self, split: str) -> Iterator[str]:
        """The lines of a split, normalized."""
        for row in self.corpus.rows(split):
            if self.column >= len(row):
                raise seqx.UserError(
                    f"task.column is {self.column}, but the corpus has {len(row)} columns, counted from 0"
                )
            text = seqx.normalize(self.normalizers, row[self.column].replace("\n", " "))
            if text.strip():
                yield text

    def _parts(self, line: str) -> Iterator[str]:
        """A line with its end, or parts of one that is too long, the last of them with its end."""
        if len(line.encode()) + 2 <= self.max_length or len(self._ids(line)) + 1 <= self.max_length:
            yield f"{line}\n"
            return
        part, places = "", 0
        for word in re.findall(r"\S+\s*|\s+", line):
            count = len(self.tokenizer.encode(word))
            if part and places + count + 1 > self.max_length:
                yield part
                part, places = "", 0
            part, places = part + word, places + count
        yield f"{part}\n"

    def _ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """The ids of text, with EOS where a line ends."""
        *whole, rest = text.split("\n")
        ids = [i for line in whole for i in (*self.tokenizer.encode(line, rng), seqx.EOS)]
        return ids + self.tokenizer.encode(rest, rng)


def _lower_is_better(value: float, signature: str) -> seqx.Score:
    return seqx.Score(value=value, signature=signature, lower_is_better=True)
