"""Constituency parsing: words in, a tree out."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NotRequired

import torch
from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator, FailFast, TypeAdapter
from typing_extensions import TypedDict

import seqx
from seqx_parsing import words as wording
from seqx_parsing.cleaning import SEPARATORS, TAG_SEPARATORS, clean, shown
from seqx_parsing.linearisation import TOP, Decoded, Linearisation
from seqx_parsing.reader import read
from seqx_parsing.roots import Roots, without_root
from seqx_parsing.ruled_out import RuledOut
from seqx_parsing.tree import Leaf, Tree
from seqx_parsing.vocabulary import Vocabulary, label, symbol

VALID = "valid"
"""The score that says which share of the outputs were trees as the model wrote them."""

_SHOWN = 40  # characters of a row that is refused
_TRIAL = ["(TOP (S (NP (NN Time)) (VP (VBZ flies))))"]  # scored once to find the names of the scores

_LARGEST = 1 << 24  # bytes of symbols.json

Separator = Annotated[str, MinLen(1)]


def _unlike(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("some are there twice")
    return names


class _Named(TypedDict):
    symbols: Annotated[list[Annotated[str, AfterValidator(symbol)]], FailFast(), AfterValidator(_unlike)]
    tags: Annotated[list[Annotated[str, AfterValidator(label)]], FailFast(), AfterValidator(_unlike)]
    root: NotRequired[Annotated[str, AfterValidator(label)]]  # an outermost label that is treated as TOP


_NAMED = TypeAdapter(_Named)


@dataclass(kw_only=True, eq=False)
class Parsing(seqx.CorpusTask):
    """Writes a sentence's constituents as a sequence (Vinyals et al. 2015; Vaswani et al. 2017, section 6.3).

    An input is a sentence's words with spaces between them, as the treebank has them; the source is their
    subwords, the target the linearised tree without the words. Trees lose traces and function tags.

    Args:
        corpus: where trees come from, one to a row
        tokenizer: what makes ids of the words
        linearisation: how a tree is written as a sequence
        metrics: how trees are judged, the one that counts first
        tags: parts of speech in the output: `predicted` by a model of type tagging, or by a linearisation
            that writes them; `given` with the input, as in `barks_VBZ`; `none`: XX, and the right ones when
            trees are judged
        constrained: whether the search can only write trees over the input's words
        repair: whether what is written besides is made a tree; else there is no answer
        longest: most subwords, with EOS, of a sentence that is trained on; longer ones are dropped
        column: the column of the corpus that has the trees, from 0
        sample_segmentation: whether each epoch draws other segmentations of the words (subword
            regularisation, Kudo 2018); how far they stray is the tokenizer's setting
        separators: labels are cut at these, which begin function tags, indices and features; one at the
            beginning of a label does not cut it
        tag_separators: parts of speech are cut at these
    """

    tokenizer: seqx.Tokenizer
    linearisation: Linearisation
    metrics: list[seqx.Metric]
    tags: Literal["predicted", "given", "none"] = "none"
    constrained: bool = True
    repair: bool = True
    longest: Annotated[int, Gt(1)] = 512
    column: Annotated[int, Ge(0)] = 0
    sample_segmentation: bool = False
    separators: tuple[Separator, ...] = SEPARATORS
    tag_separators: tuple[Separator, ...] = TAG_SEPARATORS

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty; name one at least, as in metrics: [evalb]")
        if self.linearisation.tags and self.tags != "predicted":
            raise ValueError(
                f"the linearisation writes tags, so that tags must be predicted, not {self.tags}"
            )
        self.resegments = self.sample_segmentation
        self._symbols = Vocabulary(())
        self._tags = Vocabulary(())
        self._root: str | None = None

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabularies of "source", "target" and "tags"; target ids below "words" stand for words."""
        words = sum(map(self.linearisation.is_word, self._symbols.symbols))
        return {
            "source": self.tokenizer.size,
            "target": self._symbols.size,
            "tags": self._tags.size,
            seqx.WORDS: seqx.UNK + 1 + words,
        }

    def columns(self) -> Mapping[str, int]:
        """The column of the trees."""
        return {"column": self.column}

    def learn(self, folder: Path, progress: seqx.ProgressReporter) -> None:
        """Learn the words' subwords, and note the symbols and tags, of the training trees.

        Raises:
            UserError: a label or a tag is none
        """
        progress("learning the vocabulary", None)
        roots, self._root = Roots(), None
        for _, tree in self._said("train", training=True):
            roots.add_tree(tree)
        self._root = roots.dummy
        lines = (" ".join(map(shown, _words(tree))) for _, tree in self._said("train", training=True))
        self.tokenizer.learn(lines, folder / "tokenizer")
        symbols: set[str] = set()
        tags: set[str] = set()
        for row, tree in self._said("train", training=True):
            try:
                symbols.update(map(symbol, set(self.linearisation.encode(tree)) - symbols))
                tags.update(map(label, {leaf.tag for leaf in tree.leaves()} - tags))
            except ValueError as error:
                place = self.corpus.place("train", row)
                raise seqx.UserError(f"{place}: {error}; correct it there, or leave the tree out") from None
        ordered = sorted(symbols, key=lambda symbol: (not self.linearisation.is_word(symbol), symbol))
        # Two linearisations may have the same symbols, and models of both still do not answer as one.
        kind = type(self.linearisation).__qualname__
        named = {"linearisation": kind, "symbols": ordered, "tags": sorted(tags)}
        if self._root is not None:
            named["root"] = self._root
        (folder / "symbols.json").write_text(json.dumps(named, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Use the vocabularies in `folder`."""
        self.tokenizer.load(folder / "tokenizer")
        named = seqx.read_json_as(_NAMED, folder / "symbols.json", _LARGEST)
        self._symbols, self._tags = Vocabulary(tuple(named["symbols"])), Vocabulary(tuple(named["tags"]))
        self._root = named.get("root")

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Each tree, in brackets."""
        for row in self.corpus.rows(split):
            if self.column >= len(row):
                raise seqx.UserError(
                    f"task.column is {self.column}, but the corpus has {len(row)} columns, counted from 0"
                )
            yield (row[self.column],)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Subwords, linearised tree and the words' tags, the first two with EOS."""
        tree = self._cleaned(row[0], training=training)
        if tree is None:
            return seqx.Rejected("empty")
        text = {
            "source": " ".join(_words(tree)),
            "target": " ".join(self.linearisation.encode(tree)),
            "tags": " ".join(leaf.tag for leaf in tree.leaves()),
        }
        columns = self._columns(text)
        if training and len(columns["source"]) > self.longest:
            return seqx.Rejected("too long")
        learnt = ("target", "tags") if self.tags == "predicted" else ("target",)
        # All symbols are known, unless the vocabulary is that of training.init.
        if training and any(seqx.UNK in columns[name] for name in learnt):
            return seqx.Rejected("with labels that the vocabulary lacks")
        return seqx.Example(columns=columns, text=text)

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """The columns with one of several encodings of the words; the usual one where that got too long."""
        drawn = self._columns(text, rng)
        return drawn if len(drawn["source"]) <= self.longest else self._columns(text)

    def read(self, text: str) -> Mapping[str, list[int]]:
        """The subwords of a sentence, with EOS, and which of them begin a word."""
        ids, starts = self._subwords([leaf.word for leaf in self._leaves(text)])
        return {"source": [*ids, seqx.EOS], seqx.WORDS: [*starts, 0]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """The tree in brackets, on one line."""
        leaves = self._leaves(text)
        if self.tags == "predicted" and not self.linearisation.tags:
            leaves = self._tagged(leaves, text, labels)
        tree, repaired = self._decoded(ids, leaves)
        return "" if repaired and not self.repair else str(tree)

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        """Count the answers that are not trees over the words."""
        leaves = self._leaves(text)
        repaired = sum(self._decoded(ids, leaves).repaired for ids in answers)
        return [seqx.AnswerWarning(self._invalid_outputs, repaired, len(answers))]

    @property
    def _invalid_outputs(self) -> str:
        consequence = "they were made trees" if self.repair else "they are left out"
        return f"outputs were no trees over the words; {consequence}"

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Subwords, or symbols of linearised trees."""
        return self.tokenizer.symbols(ids) if column == "source" else self._symbols.read(ids)

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """A sentence of more than `max_length` subwords in parts."""

        def fits(words: Sequence[str]) -> bool:
            return len(self.read(" ".join(words))["source"]) <= max_length

        return [" ".join(piece) for piece in wording.pieces(wording.split(text), fits)]

    def join(self, answers: Sequence[str]) -> str:
        """The trees of a sentence's parts, next to each other in one; none where some part has none."""
        if not all(answers):
            return ""
        children: list[Tree | Leaf] = []
        for tree in read(answers, "answers"):
            children += tree.children if tree.label == TOP else [tree]
        return str(Tree(TOP, tuple(children)))

    def training_warnings(self) -> Sequence[str]:
        """Warn about a root that is treated as TOP, and about training trees that the grammar rules out."""
        said = []
        if self._root is not None:
            said.append(
                f"{self._root} is the outermost label of every tree that the symbols were learnt from; it is "
                f"treated as {TOP}: not learnt, not written and not scored"
            )
        ruled_out, roots = RuledOut(self.linearisation), Roots()
        for tree in self._trees("train", training=True):
            ruled_out.add(tree)
            roots.add_tree(tree)
        said += [
            f"{root} is the outermost label of {'all' if root == roots.dummy else 'some'} training trees, "
            f"and is learnt, written and scored as a constituent; if it is none, write {TOP} instead"
            for root in roots.dummies
        ]
        if self.constrained and ruled_out.trees:
            said.append(f"task.linearisation: {ruled_out}")
        return said

    def inputs(self, split: seqx.Split) -> list[str]:
        """Return the words of a split's trees, with their tags if the setting `tags` is `given`."""
        trees = self._trees(split.name, split.rows)
        if self.tags == "given":
            return [" ".join(f"{word}_{tag}" for tag, word in tree.leaves()) for tree in trees]
        return [" ".join(_words(tree)) for tree in trees]

    def references(self, split: seqx.Split) -> list[str]:
        """Return the trees of a split, cleaned."""
        return list(map(str, self._trees(split.name, split.rows)))

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar | None:
        """What lets only trees over the inputs' words be written."""
        if not self.constrained:
            return None
        words = torch.tensor([sum(columns[seqx.WORDS]) for columns in inputs])
        return self.linearisation.grammar(self._symbols, words)

    def constraint(self, requests: Sequence[seqx.Request]) -> seqx.Grammar:
        """What lets only trees be written whose symbols begin as they are to, with and without some of them.

        A request names symbols of the linearisation, with spaces between: a prefix of `(S (NP`, say. What is
        required may have no place left when a tree is nearly written, so that a narrow beam can miss it.
        """
        return seqx.LexicalGrammar(self._symbols.surfaces, list(map(_wanted, requests)))

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the metrics' scores, and that of the share of valid outputs."""
        return [*(name for metric in self.metrics for name in metric(_TRIAL, _TRIAL)), VALID]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        """Parse a split and compare with its trees; "valid" is the share of outputs that needed no repair."""
        inputs, references = self.inputs(split), self.references(split)
        nbests = [*model.hypotheses(inputs)]
        outputs = [nbest.text for nbest in nbests]
        warnings = {warning.message: warning for warning in seqx.sum_warnings(nbests)}
        invalid = warnings.pop(self._invalid_outputs, seqx.AnswerWarning("", 0, 0))
        written, repaired = invalid.total, invalid.count
        judged = outputs
        if self.tags == "none":
            judged = [_with_tags(output, right) for output, right in zip(outputs, references, strict=True)]
        tags, grammar = "gold" if self.tags == "none" else self.tags, "yes" if self.constrained else "no"
        how = f"|tags:{tags}|grammar:{grammar}"
        scores = {
            name: replace(score, signature=score.signature + how)
            for metric in self.metrics
            for name, score in metric(judged, references).items()
        }
        share = 100 * (1 - repaired / written) if written else 100.0
        scores[VALID] = seqx.Score(value=share, signature=f"repaired:{repaired}|outputs:{written}{how}")
        answers = [
            seqx.Answer(input=sentence, output=output, reference=reference)
            for sentence, output, reference in zip(inputs, outputs, references, strict=True)
        ]
        # `valid` gives the number of outputs that were no trees; a warning would repeat it.
        return seqx.Evaluation(scores=scores, answers=answers, warnings=[*warnings.values()])

    def _trees(
        self, split: str, rows: Iterable[tuple[str, ...]] | None = None, *, training: bool = False
    ) -> Iterator[Tree]:
        return (tree for _, tree in self._said(split, rows, training=training))

    def _said(
        self, split: str, rows: Iterable[tuple[str, ...]] | None = None, *, training: bool = False
    ) -> Iterator[tuple[int, Tree]]:
        """Yield the trees of a split that have words, each with the number of its row, from 0.

        Raises:
            UserError: with its place, for a row that is not a tree
        """
        for row, (line,) in enumerate(self.rows(split) if rows is None else rows):
            try:
                tree = self._cleaned(line, training=training)
            except seqx.UserError as error:
                said = str(error).removeprefix("the corpus:1: ")
                raise seqx.UserError(f"{self.corpus.place(split, row)}: {said}") from None
            if tree is not None:
                yield row, tree

    def _cleaned(self, line: str, *, training: bool) -> Tree | None:
        trees = list(read([line], "the corpus"))
        if len(trees) != 1:
            raise seqx.UserError(
                f"a row of the corpus has {len(trees)} trees, and must have one: {line[:_SHOWN]!r}; correct "
                "it, or leave it out"
            )
        tree = clean(
            trees[0],
            training=training,
            separators=self.separators,
            tag_separators=self.tag_separators,
        )
        return None if tree is None else without_root(tree, self._root)

    def _leaves(self, text: str) -> list[Leaf]:
        words = wording.split(text)
        return wording.tagged(words) if self.tags == "given" else wording.untagged(words)

    def _decoded(self, ids: Sequence[int], leaves: Sequence[Leaf]) -> Decoded:
        decoded = self.linearisation.decode(self._symbols.read(ids), leaves)
        tree = decoded.tree.readable()
        return Decoded(tree, decoded.repaired or tree is not decoded.tree)

    def _subwords(self, words: Sequence[str], rng: random.Random | None = None) -> wording.Subwords:
        most = min(wording.LONGEST, self.longest - 1)
        return wording.subwords(words, lambda word: self.tokenizer.encode(word, rng)[:most], seqx.UNK)

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
                "task.tags is predicted, but the model predicts none: let it be of type tagging, "
                "or set task.tags to given or none"
            )
        starts = self.read(text)[seqx.WORDS]
        said = (tag for tag, start in zip(labels["tags"], starts, strict=True) if start)
        return [
            leaf._replace(tag=self._tags.read([tag])[0]) if tag > seqx.UNK else leaf
            for leaf, tag in zip(leaves, said, strict=True)
        ]


def _wanted(request: seqx.Request) -> seqx.LexicalConstraint:
    prefix = " ".join(request.prefix.split())
    return seqx.LexicalConstraint(
        prefix=f" {prefix}".encode() if prefix else b"",
        require=tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in request.require)),
        forbid=tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in request.forbid)),
    )


def _words(tree: Tree) -> list[str]:
    return [leaf.word for leaf in tree.leaves()]


def _with_tags(output: str, right: str) -> str:
    """A tree with another's tags, where both have the same words."""
    try:
        trees = [tree for text in (output, right) for tree in read([text], "the answers")]
    except seqx.UserError:
        return output
    if len(trees) != 2 or _words(trees[0]) != _words(trees[1]):
        return output
    return str(trees[0].over(trees[1].leaves()))
