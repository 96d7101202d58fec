"""Searches, grammars, tokenizers, corpora, metrics and tasks with typical mistakes.

Letters in shapes: N hypotheses, V symbols.
"""

import dataclasses
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import seqx
from seqx_search import Beam, Greedy
from seqx_text import Chrf
from seqx_translation import Translation
from tests.laws.mistakes.mistake import Mistake
from tests.letters import Rows

ROWS = [("The house", "Das Haus"), ("a dog", "ein Hund"), ("Old", "Alt"), ("my cat", "meine Katze")]


class FixedOrder(NamedTuple):
    """A state whose rows stay in their order."""

    inner: Any
    rows: int

    def select(self, index: Tensor) -> "FixedOrder":
        if len(index) == self.rows:
            return self
        return FixedOrder(seqx.rows(self.inner, index), len(index))

    def fork(self, n: int) -> "FixedOrder":
        return FixedOrder(seqx.fork(self.inner, n), n * self.rows)


class FixedOrderModel(seqx.Generator):
    """A model whose state ignores the order of hypotheses."""

    def __init__(self, model: seqx.Generator) -> None:
        super().__init__(model.vocab_sizes)
        self.model = model

    def encode(self, source: seqx.Column) -> seqx.State:
        return self.model.encode(source)

    def start(self, memory: seqx.State, capacity: int | None) -> FixedOrder:
        return FixedOrder(self.model.start(memory, capacity), len(memory.states))

    def advance(self, ids: Tensor, state: FixedOrder, keep: Tensor | None) -> tuple[Tensor, FixedOrder]:
        outputs, inner = self.model.advance(ids, state.inner, keep)
        return outputs, state._replace(inner=inner)

    def head(self, outputs: Tensor) -> Tensor:
        return self.model.head(outputs)


class StatesOfOtherParents(Beam):
    """Beam search that does not reorder the state of the model."""

    def __call__(self, model: seqx.Generator, *arguments: Any) -> list[list[seqx.Hypothesis]]:
        return super().__call__(FixedOrderModel(model), *arguments)


class WithoutEos(Greedy):
    """Leaves the log-probability of EOS out."""

    def __call__(
        self, model: seqx.Generator, source: seqx.Column, *arguments: Any
    ) -> list[list[seqx.Hypothesis]]:
        answers = super().__call__(model, source, *arguments)
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor([*h.ids, seqx.EOS]) for (h,) in answers], True)
        lengths = torch.tensor([len(h.ids) + 1 for (h,) in answers])
        scores = model.score(seqx.Batch.of(source=source, target=seqx.Column.of(ids, lengths)))
        of_eos = scores.gather(1, lengths[:, None] - 1)[:, 0].tolist()
        return [
            [dataclasses.replace(h, logprob=h.logprob - eos)]
            for (h,), eos in zip(answers, of_eos, strict=True)
        ]


class OneTokenMore(Greedy):
    """Writes one token more than the limit."""

    def __call__(
        self, model: seqx.Generator, source: seqx.Column, max_lengths: Tensor, *arguments: Any
    ) -> list[list[seqx.Hypothesis]]:
        return super().__call__(model, source, max_lengths + 1, *arguments)


class NoRepetition(seqx.Grammar):
    """No symbol twice in a row. The state: the last symbol and how many may follow, both [N]."""

    def __init__(self, size: int) -> None:
        self.size = size

    def start(self, rows: int, max_lengths: Tensor) -> Any:
        return torch.zeros(rows, dtype=torch.int64), max_lengths.clone()

    def allowed(self, state: Any) -> Tensor:
        last, left = state
        allowed = torch.arange(self.size) != last[:, None]
        allowed[:, seqx.EOS] = True
        return allowed & ((left > 0)[:, None] | (torch.arange(self.size) == seqx.EOS))

    def advance(self, state: Any, tokens: Tensor) -> Any:
        return tokens, state[1] - 1


class ChangesItself(NoRepetition):
    """Keeps the symbols that were written in an attribute."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.written = torch.zeros(size, dtype=torch.bool)

    def allowed(self, state: Any) -> Tensor:
        return super().allowed(state) & ~self.written

    def advance(self, state: Any, tokens: Tensor) -> Any:
        self.written[tokens[tokens > seqx.EOS]] = True
        return super().advance(state, tokens)


class ReturnsItsTable(NoRepetition):
    """Returns a tensor of its own, which a search changes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.table = torch.ones(100, size, dtype=torch.bool)

    def allowed(self, state: Any) -> Tensor:
        return self.table[: len(state[0])]


class NoEnd(NoRepetition):
    """Forbids EOS after a symbol with an odd id, also at the limit."""

    def allowed(self, state: Any) -> Tensor:
        allowed = torch.arange(self.size) != state[0][:, None]
        allowed[:, seqx.EOS] = state[0] % 2 == 0
        return allowed


class TaskWithGrammar(Translation):
    """A task with a grammar."""

    made: type[NoRepetition] = NoRepetition

    def __init__(self) -> None:
        corpus = Rows(train=ROWS, dev=ROWS, test=ROWS)
        super().__init__(corpus=corpus, tokenizer=Bytes(), metrics=[Chrf()])

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar:
        return self.made(self.tokenizer.size)


class SelfChangingGrammar(TaskWithGrammar):
    """A task whose grammar changes itself."""

    made = ChangesItself


class GrammarWithTable(TaskWithGrammar):
    """A task whose grammar returns its table."""

    made = ReturnsItsTable


class GrammarWithoutEnd(TaskWithGrammar):
    """A task whose grammar does not allow EOS at the limit."""

    made = NoEnd


class LowercaseInputs(TaskWithGrammar):
    """Lower-cases inputs, but not training rows."""

    def read(self, text: str) -> Mapping[str, list[int]]:
        return super().read(text.lower())


class RejectedTestRows(TaskWithGrammar):
    """Rejects short rows of the test split, too."""

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        return seqx.Rejected("short") if len(row[0]) < 5 else super().example(row, training=training)


class Bytes(seqx.Tokenizer):
    """The bytes of UTF-8, with nothing to learn."""

    @property
    def size(self) -> int:
        return 256 + seqx.UNK + 1

    def learn(self, lines: Iterable[str], folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        return [byte + seqx.UNK + 1 for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i - seqx.UNK - 1 for i in ids if i > seqx.UNK).decode()


class Lowercasing(Bytes):
    """Loses the case of letters."""

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        return super().encode(text.lower(), rng)


class SpelledEos(Bytes):
    """Encodes the text "</s>" as EOS."""

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        return [
            seqx.EOS if token == seqx.UNK + 1 else token
            for token in super().encode(text.replace("</s>", "\0"), rng)
        ]


class SentencesPerLine(seqx.Normalizer):
    """Puts each sentence on a line."""

    def __call__(self, text: str) -> str:
        return text.replace(", ", ",\n")


class Accuracy(seqx.Metric):
    """The percentage of outputs that equal their references."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        correct = [output == reference for output, reference in zip(outputs, references, strict=True)]
        return {"accuracy": seqx.Score(value=self.value(correct), signature="accuracy")}

    def value(self, correct: Sequence[bool]) -> float:
        return 100 * sum(correct) / len(correct)


class RunningMean(Accuracy):
    """Forgets earlier pairs, so that later ones weigh more."""

    def value(self, correct: Sequence[bool]) -> float:
        mean = 0.0
        for item in correct:
            mean = 0.9 * mean + 10 * item
        return mean


class Accumulating(Accuracy):
    """Counts the correct outputs of all calls."""

    correct = 0

    def value(self, correct: Sequence[bool]) -> float:
        self.correct += sum(correct)
        return self.correct


class Unshuffled(Rows):
    """A corpus of a few rows."""

    def __init__(self) -> None:
        super().__init__(train=ROWS, dev=ROWS, test=ROWS)


class Shuffled(Unshuffled):
    """Returns rows in a random order."""

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        return iter(random.sample(ROWS, len(ROWS)))


GRAMMAR, LOGPROB = "grammar_depends_on_the_written_symbols_only", "log_probabilities_are_those_of_the_model"

CORRECT: dict[type, Any] = {
    seqx.Search: Beam,
    seqx.Task: TaskWithGrammar,
    seqx.Tokenizer: Bytes,
    seqx.Metric: Accuracy,
    seqx.Corpus: Unshuffled,
}

MISTAKES = [
    Mistake(
        "a beam search that does not reorder the state",
        seqx.Search,
        StatesOfOtherParents,
        LOGPROB,
        r"the model gives it .* Reorder the state with `seqx\.rows`",
    ),
    Mistake(
        "a log-probability without EOS", seqx.Search, WithoutEos, LOGPROB, r"add the log-probability of EOS"
    ),
    Mistake(
        "an answer that is one token too long",
        seqx.Search,
        OneTokenMore,
        "respects_length_limits",
        r"the limits are \[3, 0, 5, 1\] .* \[4, 1, 6, 2\]",
    ),
    Mistake(
        "a grammar that changes itself",
        seqx.Task,
        SelfChangingGrammar,
        GRAMMAR,
        r"allowed: .* a second search .* not in attributes of the grammar",
    ),
    Mistake(
        "a grammar that returns its table",
        seqx.Task,
        GrammarWithTable,
        GRAMMAR,
        r"allowed: .* a second call .* return new tensors",
    ),
    Mistake(
        "a grammar without an end", seqx.Task, GrammarWithoutEnd, GRAMMAR, r"allowed: .* EOS must be allowed"
    ),
    Mistake(
        "inputs that are normalised in another way",
        seqx.Task,
        LowercaseInputs,
        "inputs_are_encoded_like_examples",
        r"read: the input 'The house' .* encode both alike",
    ),
    Mistake(
        "rejected test rows",
        seqx.Task,
        RejectedTestRows,
        "examples_are_valid",
        r"example: 1 rows of the test split .* only if `training`",
    ),
    Mistake(
        "a tokenizer that loses case",
        seqx.Tokenizer,
        Lowercasing,
        "decode_inverts_encode",
        r"decode: 'The house is old\.' .* 'the house is old\.'",
    ),
    Mistake(
        "a text that is encoded as EOS",
        seqx.Tokenizer,
        SpelledEos,
        "ids_are_in_the_vocabulary",
        r"encode: '<pad> <s> </s> <unk>' .* spells special symbols",
    ),
    Mistake(
        "a normalizer that splits lines",
        seqx.Normalizer,
        SentencesPerLine,
        "line_stays_one_line",
        r"a line must stay one line",
    ),
    Mistake(
        "a metric that depends on the order",
        seqx.Metric,
        RunningMean,
        "scores_depend_on_the_pairs_only",
        r"accuracy: in reverse order, .* sum over all pairs",
    ),
    Mistake(
        "a metric that adds up over calls",
        seqx.Metric,
        Accumulating,
        "scores_depend_on_the_pairs_only",
        r"accuracy: the second call .* no counts in attributes",
    ),
    Mistake(
        "rows in a random order",
        seqx.Corpus,
        Shuffled,
        "rows_are_deterministic",
        r"rows: train has other rows .*random\.Random\(seed\)",
    ),
]
