"""The task of constituency parsing: from words to a bracketed tree."""

import json
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NotRequired

import torch
from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator, FailFast, TypeAdapter
from typing_extensions import TypedDict

import seqx
from seqx_parsing.cleaning import SEPARATORS, TAG_SEPARATORS, clean, unescape
from seqx_parsing.linearisation import TOP, Decoded, Linearisation
from seqx_parsing.mistakes import draw_difference, label_scores, tree_mistakes
from seqx_parsing.reader import read, with_tags
from seqx_parsing.roots import RootLabels, without_root
from seqx_parsing.ruled_out import RuledOut
from seqx_parsing.running_text import ATTACHED, has_attached_punctuation
from seqx_parsing.tree import Leaf, Tree
from seqx_parsing.vocabulary import TreebankSymbols, Vocabulary, label, symbol
from seqx_parsing.words import (
    MAX_SUBWORDS,
    Subwords,
    encode_words,
    split_sentence,
    split_words,
    tagged_leaves,
    untagged_leaves,
)

VALID = "valid"
"""The name of a score: the percentage of outputs that are valid trees without a repair."""

_SHOWN = 40  # characters of a malformed row in a message
_EXAMPLE = ["(TOP (S (NP (NN Time)) (VP (VBZ flies))))"]  # to get the names of the scores

_MAX_BYTES = 1 << 24  # of symbols.json

Separator = Annotated[str, MinLen(1)]


def _unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("contains duplicates")
    return names


class _VocabularyFile(TypedDict):
    symbols: Annotated[list[Annotated[str, AfterValidator(symbol)]], FailFast(), AfterValidator(_unique)]
    tags: Annotated[list[Annotated[str, AfterValidator(label)]], FailFast(), AfterValidator(_unique)]
    root: NotRequired[Annotated[str, AfterValidator(label)]]  # a dummy root, treated as TOP


_VOCABULARY_FILE = TypeAdapter(_VocabularyFile)


@dataclass(kw_only=True, eq=False)
class Parsing(seqx.GenerationTask, seqx.CorpusTask):
    """Parsing as writing a linearised tree (Vinyals et al. 2015; Vaswani et al. 2017, section 6.3).

    The input is a sentence with spaces between its words, split as in the treebank. The source consists of
    its subwords, and the target is the linearised tree without the words. Trees have no traces and function
    tags.

    Args:
        corpus: the treebank, one tree per row
        tokenizer: splits the words into subwords
        linearisation: converts trees to sequences
        metrics: metrics of parsing; the main score of the first one selects checkpoints
        tags: the part-of-speech tags of the output. `predicted`: from a model of type tagging, or from a
            linearisation with tags. `given`: from the input, as in `barks_VBZ`. `none`: XX; evaluation uses
            the tags of the references
        constrained: restrict the search to valid trees over the input's words
        repair: repair invalid outputs; if false, their answer is empty
        max_length: maximum number of subwords of a training sentence, EOS included; longer ones are dropped
        column: the corpus column that contains the trees, counted from 0
        sample_segmentation: sample another segmentation of the words in each epoch (subword regularisation,
            Kudo 2018); its strength is a setting of the tokenizer
        separators: labels are cut at these strings, which begin function tags, indices and features; a
            separator with which a label begins does not cut it, as in -LRB-
        tag_separators: part-of-speech tags are cut at these strings
    """

    action = "parse"
    next_commands = ("echo {input} | seqx parse --draw {model}",)
    starting_point = seqx.StartingPoint(
        columns=("trees in brackets",), template=Path(__file__).with_name("starting_point.yaml")
    )
    renamed: ClassVar[Mapping[str, str]] = {"longest": "max_length"}

    tokenizer: seqx.Tokenizer
    linearisation: Linearisation
    metrics: list[seqx.Metric]
    tags: Literal["predicted", "given", "none"] = "none"
    constrained: bool = True
    repair: bool = True
    max_length: Annotated[int, Gt(1)] = 512
    column: Annotated[int, Ge(0)] = 0
    sample_segmentation: bool = False
    separators: tuple[Separator, ...] = SEPARATORS
    tag_separators: tuple[Separator, ...] = TAG_SEPARATORS

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one, as in metrics: [evalb]")
        if self.linearisation.tags and self.tags != "predicted":
            raise ValueError(
                "tags: the linearisation writes part-of-speech tags, so set tags to predicted, "
                f"not {self.tags}"
            )
        self.resegments = self.sample_segmentation
        self._symbols = Vocabulary(())
        self._tags = Vocabulary(())
        self._root: str | None = None

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary size of each column; target ids below the size of "words" stand for words."""
        words = sum(map(self.linearisation.is_word, self._symbols.symbols))
        return {
            "source": self.tokenizer.size,
            "target": self._symbols.size,
            "tags": self._tags.size,
            seqx.WORDS: seqx.UNK + 1 + words,
        }

    def columns(self) -> Mapping[str, int]:
        """Return the column of the corpus that the task reads."""
        return {"column": self.column}

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Train the tokenizer on the training trees, and collect their symbols and tags.

        Raises:
            UserError: a label or tag is invalid
        """
        progress("learning the vocabulary", None)
        roots, self._root = RootLabels(), None
        found = TreebankSymbols(self.linearisation.encode)

        def lines() -> Iterator[str]:
            for row, tree in self._numbered_trees("train", training=True):
                roots.add_tree(tree)
                found.add(row, tree)
                yield " ".join(map(unescape, _words(tree)))

        text = lines()  # one pass for all, because trees are slow to read
        self.tokenizer.learn(text, folder / "tokenizer")
        deque(text, 0)  # read all trees, even if the tokenizer is already trained and reads no lines
        self._root = roots.common_dummy
        if self._root is not None:  # the trees have other symbols without it
            found = TreebankSymbols(self.linearisation.encode)
            for row, tree in self._numbered_trees("train", training=True):
                found.add(row, tree)
        if found.invalid is not None:
            row, reason = found.invalid
            location = self.corpus.row_location("train", row)
            raise seqx.UserError(f"{location}: {reason}; correct or remove the tree")
        ordered = sorted(found.symbols, key=lambda symbol: (not self.linearisation.is_word(symbol), symbol))
        # The name makes the files of different linearisations differ even if their symbols are the same:
        # models with different files cannot form an ensemble.
        kind = type(self.linearisation).__qualname__
        content = {"linearisation": kind, "symbols": ordered, "tags": sorted(found.tags)}
        if self._root is not None:
            content["root"] = self._root
        (folder / "symbols.json").write_text(
            json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Load the vocabularies from `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        content = seqx.read_json_as(_VOCABULARY_FILE, folder / "symbols.json", _MAX_BYTES)
        self._symbols, self._tags = Vocabulary(tuple(content["symbols"])), Vocabulary(tuple(content["tags"]))
        self._root = content.get("root")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the bracketed trees of a split."""
        for row in self.corpus.rows(split):
            yield seqx.select_columns(row, {"task.column": self.column})

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the subwords, the linearised tree and the words' tags."""
        tree = self._cleaned(row[0], training=training)
        if tree is None:
            return seqx.Rejected("empty")
        text = {
            "source": " ".join(_words(tree)),
            "target": " ".join(self.linearisation.encode(tree)),
            "tags": " ".join(leaf.tag for leaf in tree.leaves()),
        }
        columns = self._columns(text)
        if training and len(columns["source"]) > self.max_length:
            return seqx.Rejected("too long")
        predicted = ("target", "tags") if self.tags == "predicted" else ("target",)
        # Unknown symbols only occur with the vocabulary of another model (training.init_from).
        if training and any(seqx.UNK in columns[name] for name in predicted):
            return seqx.Rejected("with labels that the vocabulary lacks")
        return seqx.Example(columns=columns, text=text)

    def scored_example(self, texts: Sequence[str]) -> seqx.Example | seqx.Rejected:
        """Return the example of a tree in brackets; a sentence before it must have the words of the tree."""
        if len(texts) > 2:
            raise seqx.UserError("the model is a parser; name two files, SENTENCES and TREES, or TREES alone")
        example = self.example((texts[-1],), training=False)
        words = [leaf.word for text in texts[:-1] for leaf in self._leaves(text)]
        if (
            len(texts) == 2
            and isinstance(example, seqx.Example)
            and words != example.text["source"].split(" ")
        ):
            raise seqx.UserError("the words of the tree are not those of the sentence; correct one of them")
        return example

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Encode with a sampled segmentation, or with the usual one if the sampled one is too long."""
        sampled = self._columns(text, rng)
        return sampled if len(sampled["source"]) <= self.max_length else self._columns(text)

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the subwords of a sentence with EOS, and for each of them 1 if it begins a word, else 0."""
        ids, starts = self._subwords([leaf.word for leaf in self._leaves(text)])
        return {"source": [*ids, seqx.EOS], seqx.WORDS: [*starts, 0]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the tree in brackets, on one line; empty if it needs a repair and `repair` is false."""
        leaves = self._leaves(text)
        if self.tags == "predicted" and not self.linearisation.tags:
            leaves = self._tagged(leaves, text, labels)
        tree, repaired = self._decoded(ids, leaves)
        return "" if repaired and not self.repair else str(tree)

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        """Count outputs that are not valid trees over the words, and inputs that are not split into words."""
        leaves = self._leaves(text)
        words = " ".join(leaf.word for leaf in leaves)
        repaired = sum(self._decoded(ids, leaves).repaired for ids in answers)
        return [
            seqx.AnswerWarning(self._invalid_outputs, repaired, len(answers)),
            seqx.AnswerWarning(ATTACHED, has_attached_punctuation(words), bool(words)),
        ]

    @property
    def _invalid_outputs(self) -> str:
        action = "they were repaired" if self.repair else "their answers are empty"
        return f"outputs were not valid trees over the words; {action}"

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return the subwords of the source, the tags, or the symbols of linearised trees, for display."""
        if column == "source":
            return self.tokenizer.symbols(ids)
        return (self._tags if column == "tags" else self._symbols).symbols_of(ids)

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """Split a sentence of more than `max_length` subwords into parts."""

        def fits(words: Sequence[str]) -> bool:
            return len(self.read(" ".join(words))["source"]) <= max_length

        parts = split_sentence(split_words(text), fits, self._leaves(text))
        return [" ".join(part) for part in parts]

    def join(self, answers: Sequence[str]) -> str:
        """Join the trees of a sentence's parts below one TOP; empty if a part has no tree."""
        if not all(answers):
            return ""
        children: list[Tree | Leaf] = []
        for tree in read(answers, "answers"):
            children += tree.children if tree.label == TOP else [tree]
        return str(Tree(TOP, tuple(children)))

    def structure(self, answer: str) -> Mapping[str, object]:
        """Return the tree: constituents with label, span (words from 0, end excluded) and children."""
        return {"tree": next((tree.to_json() for tree in read([answer], "the answer")), None)}

    def training_warnings(self) -> Sequence[str]:
        """Return warnings about dummy roots, and about training trees that the grammar rules out."""
        messages = []
        if self._root is not None:
            messages.append(
                f"{self._root} is the outermost label of every tree from which the vocabulary was learned; "
                f"it is treated as {TOP}, so it is neither predicted nor scored"
            )
        ruled_out, roots = RuledOut(self.linearisation), RootLabels()
        for tree in self._trees("train", training=True):
            ruled_out.add(tree)
            roots.add_tree(tree)
        messages += [
            f"{root} is the outermost label of {'all' if root == roots.common_dummy else 'some'} training "
            f"trees, and is predicted and scored as a constituent; if it is a dummy root, replace it by {TOP}"
            for root in roots.probable_dummies
        ]
        if self.constrained and ruled_out.count:
            messages.append(f"task.linearisation: {ruled_out}")
        return messages

    def inputs(self, split: seqx.Split) -> list[str]:
        """Return the sentences of a split, with tags if `tags` is `given`."""
        trees = self._trees(split.name, split.rows)
        if self.tags == "given":
            return [" ".join(f"{word}_{tag}" for tag, word in tree.leaves()) for tree in trees]
        return [" ".join(_words(tree)) for tree in trees]

    def references(self, split: seqx.Split) -> list[str]:
        """Return the cleaned trees of a split."""
        return list(map(str, self._trees(split.name, split.rows)))

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar | None:
        """Return the grammar of trees over the inputs' words; None if `constrained` is false."""
        if not self.constrained:
            return None
        words = torch.tensor([sum(columns[seqx.WORDS]) for columns in inputs])
        return self.linearisation.grammar(self._symbols, words)

    def constraint(self, requests: Sequence[seqx.Request]) -> seqx.Grammar:
        """Return the grammar of the prefixes, required phrases and forbidden phrases of requests.

        A request contains symbols of the linearisation separated by spaces, for example the prefix `(S (NP`.
        If a tree is almost complete, required symbols may not fit any more. A small beam can therefore fail.
        """
        return seqx.LexicalGrammar(self._symbols.surfaces, [*map(self._lexical_request, requests)])

    def _lexical_request(self, request: seqx.Request) -> seqx.LexicalConstraint:
        """Return the constraint of a request.

        Raises:
            UserError: the model has no symbol that contains a part of a phrase
        """
        for phrase in (*request.require, *request.forbid):
            for part in phrase.split():
                if not any(part in symbol for symbol in self._symbols.symbols):
                    raise seqx.UserError(
                        f"the phrase {phrase!r}: the model writes no symbol {part!r}"
                        f"{_similar(part, self._symbols.symbols)}"
                    )
        prefix = " ".join(request.prefix.split())
        return seqx.LexicalConstraint(
            prefix=f" {prefix}".encode() if prefix else b"",
            require=tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in request.require)),
            forbid=tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in request.forbid)),
        )

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the metrics' scores and of the percentage of valid outputs."""
        return [*(name for metric in self.metrics for name in metric(_EXAMPLE, _EXAMPLE)), VALID]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        """Parse a split and score it; the score "valid" is the percentage of outputs without a repair."""
        inputs, references = self.inputs(split), self.references(split)
        nbests = [*model.hypotheses(inputs)]
        answers = [
            seqx.Answer(input=sentence, output=nbest.text, reference=reference)
            for sentence, nbest, reference in zip(inputs, nbests, references, strict=True)
        ]
        warnings = {warning.message: warning for warning in seqx.sum_warnings(nbests)}
        invalid = warnings.pop(self._invalid_outputs, seqx.AnswerWarning("", 0, 0))
        total, repaired = invalid.total, invalid.count
        valid = 100 * (1 - repaired / total) if total else 100.0
        signature = f"repaired:{repaired}|outputs:{total}{self._score_settings}"
        valid_score = seqx.Score(value=valid, signature=signature, results=("repaired",))
        # A warning about invalid outputs would repeat the score `valid`.
        return seqx.Evaluation(
            scores={**self.rescore(answers), VALID: valid_score},
            answers=answers,
            warnings=[*warnings.values()],
        )

    def rescore(self, answers: Sequence[seqx.Answer]) -> dict[str, seqx.Score]:
        """Return the scores of the metrics for answers that were read from a file."""
        scored = self._scored(answers)
        outputs, references = [each.output for each in scored], [each.reference for each in scored]
        return {
            name: replace(score, signature=score.signature + self._score_settings)
            for metric in self.metrics
            for name, score in metric(outputs, references).items()
        }

    @property
    def _score_settings(self) -> str:
        """The settings of the task that scores depend on, for signatures."""
        tags, grammar = "gold" if self.tags == "none" else self.tags, "yes" if self.constrained else "no"
        return f"|tags:{tags}|grammar:{grammar}"

    def _scored(self, answers: Sequence[seqx.Answer]) -> Sequence[seqx.Answer]:
        """Return the answers as they are scored: with the tags of the references if outputs have no tags.

        EVALB does not count punctuation, which it recognises by the tags.
        """
        if self.tags != "none":
            return answers
        return [replace(each, output=with_tags(each.output, each.reference)) for each in answers]

    def answer_scores(self, answers: Sequence[seqx.Answer]) -> list[Mapping[str, seqx.Score]]:
        """Return the scores of each tree alone."""
        return seqx.score_answers(self.metrics, self._scored(answers))

    def significance(
        self, baseline: Sequence[seqx.Answer], answers: Sequence[seqx.Answer], resamples: int
    ) -> Mapping[str, seqx.Significance]:
        """Test the differences of all metrics."""
        pair = self._scored(baseline), self._scored(answers)
        return seqx.answer_significance(self.metrics, *pair, resamples)

    def mistakes(self, answers: Sequence[seqx.Answer]) -> list[seqx.MistakeGroup]:
        """Return the mistakes in the trees, by label and attachment."""
        return tree_mistakes(answers)

    def report_tables(self, answers: Sequence[seqx.Answer]) -> list[seqx.ReportTable]:
        """Return the scores of each label."""
        return label_scores(self._scored(answers))

    def draw_difference(self, answer: seqx.Answer) -> list[seqx.Drawing]:
        """Return drawings of the tree and its reference."""
        return draw_difference(answer)

    def _trees(
        self, split: str, rows: Iterable[tuple[str, ...]] | None = None, *, training: bool = False
    ) -> Iterator[Tree]:
        return (tree for _, tree in self._numbered_trees(split, rows, training=training))

    def _numbered_trees(
        self, split: str, rows: Iterable[tuple[str, ...]] | None = None, *, training: bool = False
    ) -> Iterator[tuple[int, Tree]]:
        """Yield the trees of a split that have words, each with its row number, counted from 0.

        Raises:
            UserError: a row is not a tree; the message has its file and line
        """
        for row, (line,) in enumerate(self.rows(split) if rows is None else rows):
            try:
                tree = self._cleaned(line, training=training)
            except seqx.UserError as error:
                raise seqx.UserError(f"{self.corpus.row_location(split, row)}: {error}") from None
            if tree is not None:
                yield row, tree

    def _cleaned(self, line: str, *, training: bool) -> Tree | None:
        try:
            trees = list(read([line], "the corpus"))
        except seqx.UserError as error:  # the caller knows file and line
            raise seqx.UserError(str(error).removeprefix("the corpus:1: ")) from None
        if len(trees) != 1:
            raise seqx.UserError(
                f"a row of the corpus has {len(trees)} trees instead of one: {line[:_SHOWN]!r}; "
                "correct or remove it"
            )
        tree = clean(
            trees[0],
            training=training,
            separators=self.separators,
            tag_separators=self.tag_separators,
        )
        return None if tree is None else without_root(tree, self._root)

    def _leaves(self, text: str) -> list[Leaf]:
        words = split_words(text)
        return tagged_leaves(words) if self.tags == "given" else untagged_leaves(words)

    def _decoded(self, ids: Sequence[int], leaves: Sequence[Leaf]) -> Decoded:
        decoded = self.linearisation.decode(self._symbols.symbols_of(ids), leaves)
        tree = decoded.tree.readable()
        return Decoded(tree, decoded.repaired or tree is not decoded.tree)

    def _subwords(self, words: Sequence[str], rng: random.Random | None = None) -> Subwords:
        limit = min(MAX_SUBWORDS, self.max_length - 1)
        return encode_words(words, lambda word: self.tokenizer.encode(word, rng)[:limit], seqx.UNK)

    def _columns(self, text: Mapping[str, str], rng: random.Random | None = None) -> dict[str, list[int]]:
        ids, starts = self._subwords(text["source"].split(" "), rng)
        tags = iter(self._tags.ids(text["tags"].split(" ")))
        return {
            "source": [*ids, seqx.EOS],
            "target": [*self._symbols.ids(text["target"].split(" ")), seqx.EOS],
            seqx.WORDS: [*starts, 0],
            "tags": [*(next(tags) if start else seqx.PAD for start in starts), seqx.PAD],
        }

    def _tagged(self, leaves: list[Leaf], text: str, labels: Mapping[str, Sequence[int]]) -> list[Leaf]:
        if "tags" not in labels:
            raise seqx.UserError(
                "task.tags is predicted, but the model predicts no tags; use a model of type tagging, "
                "or set task.tags to given or none"
            )
        starts = self.read(text)[seqx.WORDS]
        tags = (tag for tag, start in zip(labels["tags"], starts, strict=True) if start)
        return [
            leaf._replace(tag=self._tags.symbols_of([tag])[0]) if tag > seqx.UNK else leaf
            for leaf, tag in zip(leaves, tags, strict=True)
        ]


def _similar(text: str, symbols: Sequence[str]) -> str:
    """Return the end of a message that names symbols which are similar to a text, or how to list them."""
    found = get_close_matches(text, symbols)
    if found:
        return f"; use {' or '.join(found)}"
    return "; `seqx trees convert` shows the symbols of trees"


def _words(tree: Tree) -> list[str]:
    return [leaf.word for leaf in tree.leaves()]
