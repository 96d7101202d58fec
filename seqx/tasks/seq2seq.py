"""Base classes of tasks whose outputs are written token by token, and of tasks with pairs of texts."""

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Gt

from seqx.constraints import MAX_PHRASES, Intersection, LexicalConstraint, LexicalGrammar, Surfaces
from seqx.errors import PluginError, UserError
from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.mistakes import MistakeGroup
from seqx.interfaces.networks import Generator, Model
from seqx.interfaces.scores import Answer, AnswerWarning
from seqx.interfaces.specification import TextSpec, describe
from seqx.interfaces.task import Candidate, Example, InputError, Inputs, Rejected, Request, Task, Values
from seqx.interfaces.tensors import EOS
from seqx.interfaces.text import Normalizer, ProgressReporter, Tokenizer
from seqx.plugin.registry import where
from seqx.tasks.metric import MetricTask
from seqx.tasks.protected import Protected, protected_spans
from seqx.tasks.text_mistakes import text_mistakes
from seqx.tasks.token_words import token_words

_REPORTED = 5_000  # lines of training text between two reports of progress


class GenerationTask(Task):
    """A task whose outputs are written token by token by a generator, and found by a search."""

    model_type = Generator
    uses_search = True

    many_eos: bool = False
    """True if EOS ends each line of a target; false if a target has only one EOS, at its end."""

    @property
    def accepts_constraints(self) -> bool:
        """True if the task implements `constraint`."""
        return type(self).constraint is not GenerationTask.constraint

    @abstractmethod
    def write(self, ids: Sequence[int], source: Any, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the answer to an input as text.

        Args:
            ids: the target ids, without BOS and EOS
            source: the input
            labels: the most probable label of each input token, for each column that the model labels
        """

    def target_column(self, ids: Sequence[int]) -> list[int]:
        """Return the ids with EOS."""
        return [*ids, EOS]

    def grammar(self, inputs: Sequence[Mapping[str, Values]]) -> Grammar | None:
        """Return the grammar that restricts the answers to these inputs, or None.

        Args:
            inputs: the result of `read` for each input of the batch
        """
        return None

    def constraint(self, requests: Sequence[Request]) -> Grammar:
        """Return a grammar that enforces the constraints of requests: prefixes, required, forbidden phrases.

        The search obeys it in addition to `grammar`.

        Raises:
            UserError: the task does not support these constraints
        """
        raise UserError("the task of this model does not support prefixes and phrases; leave them out")

    def answer(self, model: Model, inputs: Inputs, search: Search | None) -> list[list[Candidate]]:
        """Return the hypotheses with their texts; encode the source once for labels and search."""
        assert isinstance(model, Generator), "the model is of the task's model_type"
        assert search is not None, "the task uses a search"
        source = inputs.batch.columns["source"]
        memory = model.encode(source)
        labels = model.labels(memory) if model.has_token_labels else {}
        preferred_requests = self.preferred_requests(inputs.requests)
        try:
            optional = {} if inputs.trace is None else {"trace": inputs.trace}
            grammar = self._grammar(inputs, preferred_requests)
            hypotheses = search(model, source, inputs.max_lengths, grammar, memory, **optional)
            if preferred_requests != inputs.requests and not all(hypotheses):
                grammar = self._grammar(inputs, inputs.requests)
                others = search(model, source, inputs.max_lengths, grammar, memory)
                hypotheses = [found or other for found, other in zip(hypotheses, others, strict=True)]
        except UserError as error:
            raise self._constraint_error(inputs) or error from None
        best_labels = {column: logprobs.argmax(-1).tolist() for column, logprobs in labels.items()}
        answers = []
        for row, (request, columns) in enumerate(zip(inputs.requests, inputs.columns, strict=True)):
            length = len(columns["source"])
            row_labels = {column: ids[row][:length] for column, ids in best_labels.items()}
            answers.append(
                [Candidate(self.write(h.ids, request.input, row_labels), h) for h in hypotheses[row]]
            )
            if not all(isinstance(text, str) for text, _ in answers[-1]):
                raise PluginError(f"{where(type(self))}: `write` must return a string")
        return answers

    def preferred_requests(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Return the requests with further constraints, which are dropped if no answer meets them."""
        return requests

    def _grammar(self, inputs: Inputs, requests: Sequence[Request]) -> Grammar | None:
        """Return the grammar of the task and the requests together; None if there is neither."""
        grammar = self.grammar(inputs.columns)
        if not any(request.constrained for request in requests):
            return grammar
        constraint = self.constraint(requests)
        return constraint if grammar is None else Intersection(grammar, constraint)

    def _constraint_error(self, inputs: Inputs) -> InputError | None:
        """Return the error of the first input whose constraints the task rejects; None if it accepts all."""
        for index, request in enumerate(inputs.requests):
            if request.constrained:
                try:
                    self.constraint([request]).start(1, inputs.max_lengths[index : index + 1])
                except UserError as error:
                    return InputError(str(error), index)
        return None


@dataclass(kw_only=True, eq=False)
class TextPairTask(MetricTask):
    """A task whose rows are pairs of source and target text, each with a tokenizer.

    A subclass implements `rows`, which yields these pairs, and `answer`.

    Args:
        tokenizer: the tokenizer of both sides, unless `target_tokenizer` is set
        target_tokenizer: the tokenizer of the target
        source_normalizers: applied to source text before tokenization, in this order
        target_normalizers: applied to target text before tokenization, and undone in outputs
        max_length: maximum tokens of each side of a training pair, EOS included; longer pairs are dropped
        sample_segmentation: true: sample new segmentations of the training text in each epoch (subword
            regularisation, Kudo 2018); a setting of the tokenizer controls how much they vary
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
        self._token_bytes: dict[str, Sequence[bytes | None]] = {}  # by the folder of the tokenizer

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary sizes of "source" and "target"."""
        return {"source": self.tokenizer.size, "target": self._target_tokenizer.size}

    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Learn the vocabulary or both vocabularies from the training rows."""
        progress("learning the vocabulary", None)
        for name, (tokenizer, lines) in self._training_text().items():
            tokenizer.learn(self._counted(lines, progress), folder / name)

    def extend(self, old: Path, folder: Path, progress: ProgressReporter) -> None:
        """Extend the vocabulary or both vocabularies of a model."""
        progress("extending the vocabulary", None)
        for name, (tokenizer, lines) in self._training_text().items():
            tokenizer.extend(self._counted(lines, progress), old / name, folder / name)

    def _counted(self, lines: Iterator[str], progress: ProgressReporter) -> Iterator[str]:
        """Yield the lines of training text, and report how many of them the tokenizer has read."""
        sides = 2 if self.target_tokenizer is None else 1
        num_lines = sides * (self.num_rows("train") or 0)
        for count, line in enumerate(lines):
            if count and count % _REPORTED == 0:
                fraction = count / num_lines if count < num_lines else None
                progress(f"reading text for the vocabulary: {count:,} lines", fraction)
            yield line
        if num_lines > _REPORTED:
            progress(f"learning the vocabulary from {num_lines:,} lines", None)

    def _training_text(self) -> dict[str, tuple[Tokenizer, Iterator[str]]]:
        """Return each tokenizer with its training text, by the name of its folder."""
        if self.target_tokenizer is None:
            return {"tokenizer": (self.tokenizer, chain.from_iterable(self._normalized("train")))}
        sources, targets = self._normalized("train"), self._normalized("train")
        return {
            "tokenizer": (self.tokenizer, (source for source, _ in sources)),
            "target_tokenizer": (self.target_tokenizer, (target for _, target in targets)),
        }

    def load(self, folder: Path) -> None:
        """Load the vocabularies in `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        if self.target_tokenizer is not None:
            self.target_tokenizer.load(folder / "target_tokenizer")
        self._token_bytes.clear()

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """Return the ids of both sides, or the reason to reject a training row."""
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
        sampled = self._ids(text["source"], text["target"], rng)
        if max(map(len, sampled)) <= self.max_length:
            return dict(zip(("source", "target"), sampled, strict=True))
        best = self._ids(text["source"], text["target"])
        limit = max(self.max_length, *map(len, best))
        source, target = (
            sampled_ids if len(sampled_ids) <= limit else best_ids
            for sampled_ids, best_ids in zip(sampled, best, strict=True)
        )
        return {"source": source, "target": target}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the ids of an input with EOS."""
        return {"source": self.source_ids(self.source_text(text))}

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return the symbols of ids of the column "source" or "target"."""
        tokenizer = self._target_tokenizer if column == "target" else self.tokenizer
        return tokenizer.symbols(ids)

    def token_words(self, column: str, ids: Sequence[int], text: str) -> list[int | None]:
        """Return the number of the word of a text to which each token belongs."""
        tokenizer, name = self.tokenizer, "tokenizer"
        if column == "target" and self.target_tokenizer is not None:
            tokenizer, name = self.target_tokenizer, "target_tokenizer"
        if name not in self._token_bytes:  # computed once, because it has an item for each symbol
            self._token_bytes[name] = tokenizer.surfaces()
        surfaces = self._token_bytes[name]
        return token_words([surfaces[i] for i in ids], text)

    def source_text(self, text: str) -> str:
        """Return the normalized text of an input."""
        return normalize(self.source_normalizers, text)

    def source_ids(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Tokenize a text from `source_text`, and append EOS."""
        return [*self.tokenizer.encode(text, rng), EOS]

    def target_text(self, ids: Sequence[int]) -> str:
        """Return the text of target ids, with the target normalizers undone."""
        return denormalize(self.target_normalizers, self._target_tokenizer.decode(ids))

    def specification(self) -> TextSpec:
        """Return the tokenizers and the names of the normalizers.

        The description does not hold for a subclass that changes texts in another way.
        """
        source = describe(self.tokenizer, "tokenizer")
        return TextSpec(
            source=source,
            target=source
            if self.target_tokenizer is None
            else describe(self.target_tokenizer, "target_tokenizer"),
            source_normalizers=[type(each).__name__ for each in self.source_normalizers],
            target_normalizers=[type(each).__name__ for each in self.target_normalizers],
        )

    @property
    def _target_tokenizer(self) -> Tokenizer:
        return self.target_tokenizer or self.tokenizer

    def _normalize(self, row: Sequence[str]) -> tuple[str, str]:
        return self.source_text(row[0]), normalize(self.target_normalizers, row[1])

    def _normalized(self, split: str) -> Iterator[tuple[str, str]]:
        return map(self._normalize, self.rows(split))

    def _ids(self, source: str, target: str, rng: random.Random | None = None) -> tuple[list[int], list[int]]:
        return self.source_ids(source, rng), self.target_column(self._target_tokenizer.encode(target, rng))


@dataclass(kw_only=True, eq=False)
class Seq2SeqTask(GenerationTask, TextPairTask):
    """A task from text to text, such as translation, summarization or question answering.

    A subclass implements `rows`, which yields pairs of source and target text.

    Args:
        keep: parts of an input that its answers must contain unchanged. `url`: addresses of pages and mail;
            `xml`: tags and entities; `placeholder`: such as {name}, ${name} and %s. The search requires up to
            eight different ones; if it finds no such answer, it searches again without this requirement. A
            warning counts the answers in which any is missing
    """

    keep: tuple[Protected, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._surfaces: Surfaces | None = None

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[AnswerWarning]:
        """Count the answers in which a protected part of the input is missing."""
        warnings = super().answer_warnings(text, answers)
        if not self.keep:
            return warnings
        wanted = Counter(protected_spans(text, self.keep))
        texts = map(self.target_text, answers)
        missing = sum(any(text.count(span) < n for span, n in wanted.items()) for text in texts)
        message = f"answers lack a {' or '.join(self.keep)} of their input"
        return [*warnings, AnswerWarning(message, missing, len(answers))]

    def preferred_requests(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Return the requests with the protected parts of their inputs as required phrases."""
        if not self.keep:
            return requests
        found = [[*request.require, *protected_spans(request.input, self.keep)] for request in requests]
        return [
            replace(request, require=tuple(dict.fromkeys(spans))[: max(MAX_PHRASES, len(request.require))])
            for request, spans in zip(requests, found, strict=True)
        ]

    def load(self, folder: Path) -> None:
        """Load the vocabularies in `folder`."""
        super().load(folder)
        self._surfaces = None

    def mistakes(self, answers: Sequence[Answer]) -> list[MistakeGroup]:
        """Return groups of mistakes in texts, such as wrong numbers."""
        return text_mistakes(answers)

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the text of an output, with the target normalizers undone."""
        return self.target_text(ids)

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
