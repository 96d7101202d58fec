"""Word alignments from cross-attention, and their agreement with gold alignments.

A link is a pair of a source word and a target word, both counted from 0. Letters in shapes: H heads, S source
tokens, T target tokens.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqx.errors import UserError
from seqx.inference.attention_maps import AttentionMaps
from seqx.inference.predictor import Predictor
from seqx.interfaces.task import Example, InputError, Values
from seqx.interfaces.tensors import UNK

Link = tuple[int, int]
"""A source word and a target word, counted from 0."""

_PHARAOH = re.compile(r"(\d+)([-p?:])(\d+)")
_TRIAL = "a_a"  # a word with a tag, because some tasks read only such words


@dataclass(frozen=True)
class Head:
    """A head of cross-attention."""

    layer: int  # the number of the cross-attention, from 1
    head: int | None  # the number of the head in the layer, from 1; None: the mean of all heads


@dataclass(frozen=True)
class GoldAlignment:
    """The links of a sentence pair that people annotated (Och and Ney 2003)."""

    sure: frozenset[Link]
    possible: frozenset[Link]  # all links, the sure ones included


class WordAligner:
    """An aligner of the words of a source and a target by the cross-attention of a model.

    The weight between two words is the sum over the tokens of the source word, and the mean over those of the
    target word. Each target word is linked to the source word with the largest weight (Garg et al. 2019,
    section 3). Tokens that belong to no word, such as EOS, are ignored.

    Args:
        predictor: the model
        layer: the number of the cross-attention, from 1; None: the last but one, or the only one
        head: the number of the head, from 1; None: the mean of all heads

    Raises:
        UserError: the model cannot align words, or has no such layer or head
    """

    def __init__(self, predictor: Predictor, layer: int | None = None, head: int | None = None) -> None:
        self._predictor = predictor
        self._layer = layer
        self._head = head
        self._check()

    def links(self, example: Example, source: str, target: str) -> list[Link] | None:
        """Return the links of a pair, sorted by target word; None if the source is longer than `max_length`.

        Args:
            example: the columns of source and target
            source: the text whose words are aligned
            target: the text of the target

        Raises:
            UserError: see the class, if the check was not possible
        """
        weights = self._weights(example.columns)
        if weights is None:
            return None
        return _links(self._selected(weights), *self._words(example, source, target))

    def links_of_heads(self, example: Example, source: str, target: str) -> Mapping[Head, list[Link]]:
        """Return the links of a pair by each head, and by the mean of the heads of each layer.

        Raises:
            UserError: the model cannot align words, if the check was not possible
        """
        words = self._words(example, source, target)
        return {
            Head(number, head): _links(weights, *words)
            for number, layer in enumerate(self._weights(example.columns) or (), 1)
            for head, weights in [(None, layer.mean(0)), *enumerate(layer, 1)]
        }

    def _check(self) -> None:
        """Select the weights of a short pair, so that a wrong layer or head is found before the first answer.

        The check is not possible if the task rejects the pair, or reads vectors.

        Raises:
            UserError: see the class
        """
        try:
            columns = self._predictor.pair_columns(_TRIAL, [UNK])
        except InputError:  # the task reads other inputs
            return
        weights = None if columns is None else self._weights(columns)
        if weights is not None:
            self._selected(weights)

    def _words(self, example: Example, source: str, target: str) -> tuple[list[int | None], list[int | None]]:
        task, columns = self._predictor.task, example.columns
        return (
            task.token_words("source", columns["source"], source),
            task.token_words("target", columns["target"], target),
        )

    def _weights(self, columns: Mapping[str, Values]) -> list[Tensor] | None:
        """Return the weights [H, T, S] of each cross-attention; None if the source is too long."""
        attention = self._predictor.attention_of(columns)
        if attention is None:
            return None
        weights = cross_attention(attention)
        if not weights:
            raise UserError(
                "the model has no attention of the target to the source, from which words could be aligned; "
                "use another model"
            )
        return weights

    def _selected(self, weights: Sequence[Tensor]) -> Tensor:
        """Return the weights [T, S] of the layer and the head that the user chose."""
        layer = max(1, len(weights) - 1) if self._layer is None else self._layer
        if layer > len(weights):
            raise UserError(f"there is no layer {layer}: the model has cross-attentions 1 to {len(weights)}")
        of_layer = weights[layer - 1]
        if self._head is None:
            return of_layer.mean(0)
        if self._head > len(of_layer):
            raise UserError(f"there is no head {self._head}: layer {layer} has heads 1 to {len(of_layer)}")
        return of_layer[self._head - 1]


def cross_attention(attention: AttentionMaps) -> list[Tensor]:
    """Return the weights [H, T, S] of each attention of the target to the source, first layer first."""
    return [
        layer.weights[0].double().cpu()
        for layer in attention.maps.values()
        if (layer.queries, layer.keys) == ("target", "source")
    ]


def _links(
    weights: Tensor, source_words: Sequence[int | None], target_words: Sequence[int | None]
) -> list[Link]:
    """Return a link for each target word, to the source word with the largest weight.

    Args:
        weights: the weights [T, S] of a head
        source_words: the word of each source token; None: none
        target_words: the word of each target token
    """
    source, target = _membership(source_words), _membership(target_words)
    if not len(source) or not len(target):
        return []
    best = (target @ weights @ source.T).argmax(1).tolist()
    has_tokens = target.sum(1) > 0
    return [(best[word], word) for word in has_tokens.nonzero()[:, 0].tolist()]


def _membership(words: Sequence[int | None]) -> Tensor:
    """Return 1 for each word and each of its tokens, else 0: [words, tokens]."""
    count = max((word + 1 for word in words if word is not None), default=0)
    members = torch.zeros(count, len(words), dtype=torch.float64)
    for token, word in enumerate(words):
        if word is not None:
            members[word, token] = 1
    return members


def format_links(links: Iterable[Link]) -> str:
    """Return links in Pharaoh's format, such as `0-0 1-2`."""
    return " ".join(f"{source}-{target}" for source, target in links)


def read_links(line: str) -> GoldAlignment:
    """Return the links of a line in Pharaoh's format; `1-2` is sure, `1p2`, `1?2` and `1:2` are possible.

    Raises:
        UserError: the line has another format
    """
    sure, possible = set[Link](), set[Link]()
    for word in line.split():
        match = _PHARAOH.fullmatch(word)
        if match is None:
            raise UserError(f"{word!r} is not a link such as 0-1 (sure) or 0p1 (possible), counted from 0")
        link = (int(match[1]), int(match[3]))
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return GoldAlignment(frozenset(sure), frozenset(possible))


def check_links(gold: GoldAlignment, source: str, target: str) -> None:
    """Check that gold links are between words of a sentence pair.

    Raises:
        UserError: there is no such word
    """
    for side, text, indices in (
        ("source", source, {link[0] for link in gold.possible}),
        ("target", target, {link[1] for link in gold.possible}),
    ):
        count = len(text.split())
        if indices and max(indices) >= count:
            raise UserError(
                f"there is no {side} word {max(indices)}: the line has {count} words, counted from 0"
            )


@dataclass
class Agreement:
    """The counts of links from which precision, recall and the alignment error rate are computed."""

    links: int = 0
    sure: int = 0
    in_sure: int = 0
    in_possible: int = 0

    def add(self, links: Iterable[Link], gold: GoldAlignment) -> None:
        """Add the links of a sentence pair."""
        found = set(links)
        self.links += len(found)
        self.sure += len(gold.sure)
        self.in_sure += len(found & gold.sure)
        self.in_possible += len(found & gold.possible)

    @property
    def precision(self) -> float:
        """The fraction of the links that are possible."""
        return self.in_possible / max(1, self.links)

    @property
    def recall(self) -> float:
        """The fraction of the sure links that were found."""
        return self.in_sure / max(1, self.sure)

    @property
    def error_rate(self) -> float:
        """The alignment error rate, AER (Och and Ney 2003, section 5.1)."""
        return 1 - (self.in_sure + self.in_possible) / max(1, self.links + self.sure)
