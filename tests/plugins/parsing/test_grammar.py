"""Grammars allow the same as an independent implementation, all gold trees, and only complete trees.

Letters in shapes: N hypotheses, V symbols, T symbols written.
"""

import timeit
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

import seqx
from seqx.testing.toy import Toy
from seqx_parsing import InOrder, Leaf, Linearisation, TopDown, Vocabulary
from seqx_parsing.testing import outputs, walk
from seqx_search import Beam
from tests.plugins.parsing.rules import (
    DEPTH,
    END,
    LABELS,
    OPENS,
    UNARIES,
    InOrderRules,
    Rules,
    TopDownRules,
    allowed_symbols,
)
from tests.plugins.parsing.treebank import FILES, trees

LINEARISATIONS = [TopDown(), TopDown(tags=True), InOrder(), InOrder(tags=True)]
every = pytest.mark.parametrize("linearisation", LINEARISATIONS, ids=repr)

TAGS = ["NN", "VB", "DT", ",", "-LRB-"]
PENN = "ADJP ADVP CONJP FRAG INTJ LST NAC NML NP NX PP PRN PRT QP RRC S SBAR SBARQ SINV SQ TOP UCP VP WHNP X"


def vocabulary(linearisation: Linearisation, labels: str = PENN) -> Vocabulary:
    brackets = [bracket + label for bracket in "()" for label in labels.split()]
    return Vocabulary.of([brackets, TAGS if linearisation.tags else ["XX"]])


def without_tables(grammar: seqx.Grammar) -> None:
    """Let a grammar compute its masks in each step, instead of looking them up."""
    vars(grammar)["thresholds"] = lambda: None


@pytest.mark.slow
@pytest.mark.parametrize("linearisation", [TopDown(), InOrder(tags=True)], ids=repr)
@pytest.mark.parametrize("treebank", FILES)
def test_grammar_allows_gold_trees_at_their_exact_length(
    data: Callable[[str], Path], treebank: str, linearisation: Linearisation
) -> None:
    """Its tables have the same masks as `legal` in each step."""
    found = trees(data(treebank))
    gold = [(linearisation.encode(tree), sum(1 for _ in tree.leaves())) for tree in found]
    gold.sort(key=lambda pair: len(pair[0]))
    known = Vocabulary.of(symbols for symbols, _ in gold)
    rejected = 0
    for first in range(0, len(gold), 1024):
        some = gold[first : first + 1024]
        ids = [torch.tensor([*known.ids(symbols), seqx.EOS]) for symbols, _ in some]
        words = torch.tensor([words for _, words in some])
        grammar, slow = (linearisation.grammar(known, words) for _ in range(2))
        without_tables(slow)
        lengths = torch.tensor([len(symbols) for symbols, _ in some])
        state: Any = grammar.start(len(some), lengths)
        assert slow.start(len(some), lengths).equal(state)
        legal = torch.ones(len(some), dtype=torch.bool)
        for token in pad_sequence(ids, batch_first=True, padding_value=seqx.EOS).T:  # [N]
            allowed = grammar.allowed(state)
            assert allowed.equal(slow.allowed(state))
            legal &= allowed.gather(1, token[:, None])[:, 0]
            state = grammar.advance(state, token)
        rejected += int((~legal).sum())
    assert rejected == 0
    assert all(len(symbols) <= 4 * words + 60 for symbols, words in gold)


@every
def test_grammar_random_walks_end_in_trees(linearisation: Linearisation) -> None:
    known, generator = vocabulary(linearisation), torch.Generator().manual_seed(1)
    for longest, count in ((1, 50), (2, 100), (5, 300), (20, 400), (60, 120), (150, 30)):
        words = torch.randint(1, longest + 1, (count,), generator=generator)
        limits = words + 2 + (torch.rand(count, generator=generator) ** 3 * (3 * words + 58)).long()
        limits[::10] = words[::10] + 2  # just enough
        for ids, n in zip(outputs(linearisation.grammar(known, words), limits, longest), words, strict=True):
            leaves = [Leaf("NN", "cat")] * int(n)
            symbols = known.symbols_of(ids)
            tree, repaired = linearisation.decode(symbols, leaves)
            assert not repaired, symbols
            assert [leaf.word for leaf in tree.leaves()] == ["cat"] * len(leaves)


RULES = [
    (TopDown(depth=DEPTH, opens=OPENS), TopDownRules),
    (InOrder(depth=DEPTH, unaries=UNARIES), InOrderRules),
]


@pytest.mark.parametrize(("linearisation", "rules"), RULES, ids=["top_down", "in_order"])
def test_grammar_matches_an_independent_implementation(
    linearisation: Linearisation, rules: type[Rules]
) -> None:
    known, generator = vocabulary(linearisation, " ".join(LABELS)), torch.Generator().manual_seed(2)
    words = torch.randint(0, 6, (500,), generator=generator)
    budgets = words + 2 + torch.randint(0, 12, (500,), generator=generator)
    states: list[Rules | None] = [rules(int(n)) for n in words]
    seen = set()
    for step, (allowed, tokens) in enumerate(walk(linearisation.grammar(known, words), budgets, 3)):
        for i, state in enumerate(states):
            if state is None:
                continue
            legal = {
                known.symbols_of([j])[0] if j != seqx.EOS else END
                for j in allowed[i].nonzero()[:, 0].tolist()
            }
            assert legal == set(allowed_symbols(state, int(budgets[i]) - step)), (
                state,
                int(budgets[i]) - step,
            )
            seen.add((state, int(budgets[i]) - step))
            ended = tokens[i] == seqx.EOS
            states[i] = None if ended else state.after(known.symbols_of([int(tokens[i])])[0])
    assert states == [None] * len(states)
    assert len(seen) > 1000


@pytest.mark.parametrize("linearisation", [item for item, _ in RULES], ids=["top_down", "in_order"])
def test_grammar_without_thresholds_allows_the_same(linearisation: Linearisation) -> None:
    known, words = vocabulary(linearisation, " ".join(LABELS)), torch.arange(200) % 6
    limits = words + 2 + torch.arange(200) % 12
    grammar, slow = (linearisation.grammar(known, words) for _ in range(2))
    without_tables(slow)
    for (allowed, tokens), (same, chosen) in zip(
        walk(grammar, limits, 6), walk(slow, limits, 6), strict=True
    ):
        assert allowed.equal(same)
        assert tokens.equal(chosen)


@every
def test_grammar_of_an_empty_sentence_allows_eos_only(linearisation: Linearisation) -> None:
    grammar = linearisation.grammar(vocabulary(linearisation), torch.tensor([0]))
    assert grammar.allowed(grammar.start(1, torch.tensor([9]))).nonzero().tolist() == [[0, seqx.EOS]]


@every
def test_grammar_allows_words_first_if_the_limit_is_too_small_for_a_tree(
    linearisation: Linearisation,
) -> None:
    known, generator = vocabulary(linearisation), torch.Generator().manual_seed(4)
    words = torch.randint(1, 20, (500,), generator=generator)
    limits = (torch.rand(500, generator=generator) * (words + 2)).long()
    for ids, n, limit in zip(
        outputs(linearisation.grammar(known, words), limits, 5), words, limits, strict=True
    ):
        assert len(ids) == limit
        leaves = [Leaf("NN", "cat")] * int(n)
        tree, repaired = linearisation.decode(known.symbols_of(ids), leaves)
        assert repaired
        assert [leaf.word for leaf in tree.leaves()] == ["cat"] * len(leaves)


@every
def test_beam_with_grammar_finds_only_trees(linearisation: Linearisation) -> None:
    known = vocabulary(linearisation, "NP S VP")
    lengths = torch.tensor([1, 2, 9, 5])
    source = seqx.Column.of(torch.arange(9).expand(4, -1) % 5 + 4, lengths)
    model = Toy({"source": 9, "target": known.size}, margin=0)
    search = Beam(size=4, nbest=4, ratio=2, extra=3, alpha=0)
    found = search(model, source, search.max_lengths(lengths), linearisation.grammar(known, lengths))
    for hypotheses, n in zip(found, lengths.tolist(), strict=True):
        assert hypotheses
        for hypothesis in hypotheses:
            symbols = known.symbols_of(hypothesis.ids)
            assert not linearisation.decode(symbols, [Leaf("NN", "cat")] * n).repaired


@every
def test_grammar_does_not_wait_for_the_device(linearisation: Linearisation) -> None:
    """A tensor on "meta" has no values to wait for, and cannot be combined with tensors of other devices."""
    grammar = linearisation.grammar(vocabulary(linearisation), torch.tensor([3, 8]))
    state: Any = grammar.start(2, torch.tensor([9, 30], device="meta"))
    for _ in range(3):
        allowed = grammar.allowed(state)
        state = grammar.advance(state, allowed.long().argmax(1))
    assert allowed.is_meta


@every
def test_grammar_step_takes_less_than_a_millisecond(linearisation: Linearisation) -> None:
    grammar = linearisation.grammar(vocabulary(linearisation), torch.full((256,), 20))
    state = grammar.start(256, torch.full((256,), 140))
    tokens = torch.full((256,), 5)

    def fastest(call: str) -> float:
        names = {"grammar": grammar, "state": state, "tokens": tokens}
        return min(timeit.repeat(call, timer=process_time, globals=names, number=20, repeat=5)) / 20

    assert fastest("grammar.allowed(state)") < 1e-3
    assert fastest("grammar.advance(state, tokens)") < 1e-3


def test_grammar_needs_symbols_that_form_a_tree() -> None:
    with pytest.raises(ValueError, match="the vocabulary needs a symbol for words"):
        TopDown().grammar(Vocabulary(("(NP", ")VP", "XX")), torch.tensor([2]))
