"""Laws for linearisations, and random outputs of their grammars. Needs pytest.

    import seqx.testing
    import seqx_parsing.testing
    import seqx_mine

    test_laws = seqx.testing.laws(seqx_mine)

Letters in shapes: N hypotheses, V symbols.
"""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import seqx
from seqx.testing import Subject, law
from seqx_parsing.linearisation import TOP, Linearisation
from seqx_parsing.reader import read
from seqx_parsing.tree import Leaf, Tree
from seqx_parsing.vocabulary import UNKNOWN, Vocabulary, symbol


def _chain(length: int, *, last: bool) -> Tree:
    """Return a tree with a unary chain, over the last word or over the first one."""
    tree: Tree | Leaf = Leaf("NN", "rain")
    for _ in range(length):
        tree = Tree("NP", (tree,))
    return Tree(TOP, (Tree("S", (Leaf("DT", "the"), tree) if last else (tree, Leaf(".", "."))),))


def _branching(height: int) -> Tree:
    """Return a right-branching tree of binary constituents."""
    tree = Tree("NP", (Leaf("NN", "rain"), Leaf("NN", "rain")))
    for _ in range(height):
        tree = Tree("S", (Leaf("DT", "the"), tree))
    return Tree(TOP, (tree,))


TREES = [
    *read(
        """
        (TOP (S (NP (DT The) (NN cat)) (VP (VBZ sleeps)) (. .)))
        (TOP (S (NP (PRP She)) (VP (VBD said) (SBAR (S (NP (NP (DT the) (NN end)) (PP (IN of) (NP (DT the)
            (NN road)))) (VP (VBD was) (ADJP (RB very) (JJ near)))))) (. .)))
        (TOP (FRAG (S (VP (VB Stop)))))
        (TOP (NP (NP (NP (NN rain)) (CC and) (NP (NN snow)))))
        (TOP (S (NP (NP (NP (PRP$ my) (NN friend) (POS 's)) (NN dog) (POS 's)) (NN bone)) (VP (VBD fell))))
        (TOP (S (VP (VB Go))) (: ;) (S (VP (VB stay))))
        (TOP (S (VP (VB Go))) (. .))
        (TOP (SBARQ (WHNP (WP Who)) (SQ (VP (VBD left))) (. ?)))
        (TOP (NN Results))
        (TOP (NN Results) (CC and) (NN discussion))
        (TOP (TOP (NN Results)))
        """.splitlines(),
        "trees of the laws",
    ),
    Tree(TOP, (Tree("NP", (Leaf("NN", "rain"), Leaf(",", ",")) * 20),)),
]


ODD_TREES = [
    *(_chain(length, last=last) for length in (1, 3, 4, 5, 9, 10, 11, 60, 61) for last in (False, True)),
    *(_branching(height) for height in (9, 10, 11, 30, 59, 60, 61)),
]
"""Deep trees, which a grammar may rule out. Every constituent has one or two children."""


def walk(grammar: seqx.Grammar, limits: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the allowed symbols [N, V] and the symbol taken [N] at each step; EOS is taken at the limit.

    Each row prefers some symbols, so that some trees become deep and others flat.
    """
    generator = torch.Generator().manual_seed(seed)
    state: Any = grammar.start(len(limits), limits)
    preferences: Tensor | None = None
    for step in range(int(limits.max()) + 1):
        allowed = grammar.allowed(state)
        if preferences is None:
            preferences = 3 * torch.randn(allowed.shape, generator=generator)
        noise = torch.empty_like(preferences).exponential_(generator=generator).log().neg()  # Gumbel noise
        token = (preferences + noise).masked_fill(~allowed, -torch.inf).argmax(1)
        token = token.where(limits > step, seqx.EOS)
        yield allowed, token
        state = grammar.advance(state, token)


def outputs(grammar: seqx.Grammar, limits: Tensor, seed: int) -> list[list[int]]:
    """Return the ids of each row before EOS, for symbols that are drawn as in `walk`."""
    rows = torch.stack([token for _, token in walk(grammar, limits, seed)], 1).tolist()
    return [row[: row.index(seqx.EOS)] for row in rows]


def _vocabulary(linearisation: Linearisation) -> Vocabulary:
    return Vocabulary.of(map(linearisation.encode, TREES))


def _sentence(words: int) -> list[Leaf]:
    return [Leaf("NN", str(i)) for i in range(words)]


@law(Linearisation)
def decoding_restores_encoded_trees(subject: Subject) -> None:
    """`decode` restores every encoded tree with its tags, without a repair."""
    linearisation: Linearisation = subject.build()
    for tree in [*TREES, Tree(TOP, ())]:
        leaves = list(tree.leaves())
        given = [leaf._replace(tag="?") for leaf in leaves] if linearisation.tags else leaves
        assert linearisation.decode(linearisation.encode(tree), given) == (tree, False)


@law(Linearisation)
def symbols_fit_into_a_vocabulary_file(subject: Subject) -> None:
    """Symbols can be stored in a vocabulary file and separated by spaces; none of them is `<unk>`."""
    vocabulary = _vocabulary(subject.build())
    assert all(symbol(written) for written in vocabulary.symbols)
    assert UNKNOWN not in vocabulary.symbols


@law(Linearisation)
def any_symbols_are_decoded_to_a_tree_over_the_words(subject: Subject) -> None:
    """Any sequence of symbols is decoded to a tree over the words; encoding and decoding restores it."""
    linearisation: Linearisation = subject.build()
    rng = random.Random(0)  # noqa: S311  # no secret
    symbols = [*_vocabulary(linearisation).symbols, UNKNOWN]
    for words in [0, 1, 2, 5, 20] * 40:
        noise = rng.choices(symbols, k=rng.randrange(60))
        tree = linearisation.decode(noise, _sentence(words)).tree
        assert tree.label == TOP
        assert [leaf.word for leaf in tree.leaves()] == [leaf.word for leaf in _sentence(words)]
        assert linearisation.decode(linearisation.encode(tree), list(tree.leaves())) == (tree, False)


@law(Linearisation)
def grammar_allows_gold_trees(subject: Subject) -> None:
    """The grammar allows each symbol of gold trees if the length limit is generous."""
    linearisation: Linearisation = subject.build()
    vocabulary = _vocabulary(linearisation)
    for tree in TREES:
        assert _allowed(linearisation, vocabulary, tree, 60), str(tree)


@law(Linearisation)
def needs_returns_the_smallest_sufficient_limits(subject: Subject) -> None:
    """The grammar allows a tree if and only if each limit is at least the value that `needs` returns."""
    linearisation: Linearisation = subject.build()
    vocabulary = Vocabulary.of(map(linearisation.encode, [*TREES, *ODD_TREES]))
    for tree in ODD_TREES:
        needs = linearisation.needs(tree)
        fits = all(least <= getattr(linearisation, setting) for setting, least in needs.items())
        assert _allowed(linearisation, vocabulary, tree, 300) == fits, (needs, str(tree))


def _allowed(linearisation: Linearisation, vocabulary: Vocabulary, tree: Tree, extra: int) -> bool:
    """Return true if the grammar allows all symbols of a tree within 4 symbols per word plus `extra`."""
    words = len(list(tree.leaves()))
    grammar = linearisation.grammar(vocabulary, torch.tensor([words]))
    state: Any = grammar.start(1, torch.tensor([4 * words + extra]))
    for i in [*vocabulary.ids(linearisation.encode(tree)), seqx.EOS]:
        if not grammar.allowed(state)[0, i]:
            return False
        state = grammar.advance(state, torch.tensor([i]))
    return True


@law(Linearisation)
def outputs_of_the_grammar_need_no_repair(subject: Subject) -> None:
    """Random outputs end before their limit and are trees."""
    linearisation: Linearisation = subject.build()
    vocabulary = _vocabulary(linearisation)
    words = torch.arange(500) % 26
    limits = 3 * words + 10 + torch.arange(500) % 37
    written = outputs(linearisation.grammar(vocabulary, words), limits, 0)
    for ids, n in zip(written, words.tolist(), strict=True):
        symbols = vocabulary.symbols_of(ids)
        assert not linearisation.decode(symbols, _sentence(n)).repaired, (n, symbols)


@law(Linearisation)
def grammar_always_allows_a_symbol(subject: Subject) -> None:
    """Some symbol is always allowed, even after forbidden ones (in hypotheses of probability 0)."""
    linearisation: Linearisation = subject.build()
    vocabulary, generator = _vocabulary(linearisation), torch.Generator().manual_seed(0)
    words = torch.arange(500) % 26
    grammar = linearisation.grammar(vocabulary, words)
    state: Any = grammar.start(500, 2 * words)
    for _ in range(100):
        allowed = grammar.allowed(state)
        assert allowed.any(1).all()
        assert not allowed[:, [seqx.PAD, seqx.BOS, seqx.UNK]].any()
        state = grammar.advance(state, torch.randint(vocabulary.size, (500,), generator=generator))


@law(Linearisation)
def rows_of_the_grammar_state_can_be_reordered(subject: Subject) -> None:
    """Rows of the state can be reordered and forked: hypotheses do not depend on other rows."""
    linearisation: Linearisation = subject.build()
    vocabulary, generator = _vocabulary(linearisation), torch.Generator().manual_seed(0)
    words, permutation = torch.tensor([4, 7, 2]), torch.tensor([3, 0, 5, 1, 4, 2])
    one, other = (linearisation.grammar(vocabulary, w) for w in (words, words.repeat_interleave(2)))
    state: Any = seqx.fork(one.start(3, 3 * words + 9), 2)
    expected: Any = other.start(6, (3 * words + 9).repeat_interleave(2))
    order = torch.arange(6)  # the hypothesis in each row of `state`
    for _ in range(20):
        state, order = seqx.rows(state, permutation), order[permutation]
        allowed = other.allowed(expected)
        assert one.allowed(state).equal(allowed[order])
        tokens = torch.multinomial(allowed.float(), 1, generator=generator)[:, 0]
        expected, state = other.advance(expected, tokens), one.advance(state, tokens[order])
