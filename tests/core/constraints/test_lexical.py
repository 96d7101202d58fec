"""Constrained decoding, compared with all possible answers.

Regular expressions check the answers, independently of the grammar and the search.
"""

import itertools
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import seqx
import seqx.testing
from seqx.constraints.byte_automaton import END_OF_TEXT, build_byte_automaton
from seqx_search import Beam, Greedy, Sampling
from tests.plugins.search.toy import VOCABULARY, Toy, logprob, logprobs, outputs, sources

LIMIT = 4
TEXTS = [None, None, None, b" ", b" a", b"b", " äb".encode()]
SURFACES = seqx.Surfaces(TEXTS)
LETTER = "[0-9A-Za-z\u00c0-\u1fff]"

CONSTRAINTS: list[dict[str, Any]] = [
    {},
    {"prefix": " a"},
    {"prefix": " ab "},
    {"prefix": " ä"},
    {"prefix": " äbb"},
    {"require": ("b",)},
    {"require": ("a",), "forbid": ("äb",)},
    {"require": ("ab", "äb")},
    {"require": ("a", "ab"), "prefix": " äb"},
    {"require": ("a",), "prefix": " abb"},
    {"require": ("b a",)},
    {"forbid": ("a", "b")},
    {"forbid": ("b",), "prefix": " a"},
    {"require": ("abb",), "forbid": ("a",), "prefix": " "},
    {"require": ("ab", "abb")},
]


def lexical_constraint(
    prefix: str = "", require: tuple[str, ...] = (), forbid: tuple[str, ...] = ()
) -> seqx.LexicalConstraint:
    return seqx.LexicalConstraint(prefix=prefix.encode(), require=require, forbid=forbid)


def occurs(phrase: str, text: str) -> bool:
    before = f"(?<!{LETTER})" if re.match(LETTER, phrase[0]) else ""
    after = f"(?!{LETTER})" if re.match(LETTER, phrase[-1]) else ""
    return re.search(f"{before}{re.escape(phrase)}{after}", text) is not None


def text(symbol: int) -> str:
    return (TEXTS[symbol] or b"").decode()


def is_valid(
    ids: Sequence[int], prefix: str = "", require: Sequence[str] = (), forbid: Sequence[str] = ()
) -> bool:
    text = b"".join(TEXTS[i] or b"" for i in ids).decode()
    return (
        text.startswith(prefix)
        and all(occurs(phrase, text) for phrase in require)
        and not any(occurs(phrase, text) for phrase in forbid)
    )


@pytest.mark.parametrize(
    "phrases", [["cat"], ["cat", "at"], [","], ["a b", "b a"], ["…a", "a…"], ["aa"], ["é"]]
)
def test_byte_automaton_finds_what_a_regular_expression_finds(phrases: list[str]) -> None:
    alphabet = sorted({*"".join(phrases), " ", "s", "…", "中", "ñ"})
    next_node, matches = (table.tolist() for table in build_byte_automaton(phrases, []))
    for text in ("".join(t) for n in range(5) for t in itertools.product(alphabet, repeat=n)):
        node, bits = 0, 0
        for byte in [*text.encode(), END_OF_TEXT]:
            node, bits = next_node[node][byte], bits | matches[node][byte]
        assert [bool(bits >> i & 1) for i in range(len(phrases))] == [occurs(p, text) for p in phrases], text


@pytest.mark.parametrize("settings", CONSTRAINTS, ids=str)
@pytest.mark.parametrize("limit", [1, 3, LIMIT])
def test_lexical_grammar_allows_exactly_the_valid_symbols(settings: dict[str, object], limit: int) -> None:
    """A symbol is allowed if and only if some valid answer within the maximum length continues with it."""
    grammar = seqx.LexicalGrammar(SURFACES, [lexical_constraint(**settings)])  # type: ignore[arg-type]
    expected = {ids for ids in outputs(limit) if is_valid(ids, **settings)}  # type: ignore[arg-type]
    beginnings = {ids[:n] for ids in expected for n in range(len(ids) + 1)}
    pending: list[tuple[tuple[int, ...], seqx.State]] = [((), grammar.start(1, torch.tensor([limit])))]
    while pending:
        ids, state = pending.pop()
        allowed = grammar.allowed(state)[0].nonzero()[:, 0].tolist()
        steps = [symbol for symbol in range(3, VOCABULARY) if (*ids, symbol) in beginnings]
        assert allowed == [seqx.EOS] * (ids in expected) + steps, ids
        pending += [((*ids, i), grammar.advance(state, torch.tensor([i]))) for i in steps]


@pytest.mark.parametrize("settings", [each for each in CONSTRAINTS if "require" in each], ids=str)
def test_remaining_is_the_fewest_symbols_that_required_phrases_need(settings: dict[str, Any]) -> None:
    """Symbols of the prefix do not count: they are the same for all hypotheses."""
    grammar = seqx.LexicalGrammar(SURFACES, [lexical_constraint(**settings)])
    prefix, phrases = settings.get("prefix", ""), {**settings, "prefix": ""}
    of_prefix = next(ids for ids in outputs(LIMIT) if "".join(map(text, ids)) == prefix)

    def fewest(ids: tuple[int, ...]) -> int:
        is_within = len("".join(map(text, ids))) < len(prefix)
        begun = of_prefix if is_within else ids
        return min(len(end) for end in outputs(LIMIT) if is_valid((*begun, *end), **phrases))

    pending: list[tuple[tuple[int, ...], seqx.State]] = [((), grammar.start(1, torch.tensor([LIMIT])))]
    while pending:
        ids, state = pending.pop()
        remaining = grammar.remaining(state)
        assert remaining is not None
        allowed = grammar.allowed(state)[0].nonzero()[:, 0].tolist()
        steps = [symbol for symbol in allowed if symbol != seqx.EOS]
        expected = [0] * (seqx.EOS in allowed) + [fewest((*ids, symbol)) for symbol in steps]
        assert remaining[0, allowed].tolist() == expected, ids
        pending += [((*ids, i), grammar.advance(state, torch.tensor([i]))) for i in steps]


def penalised(beam: Beam, model: Toy, possible: Sequence[tuple[int, ...]]) -> list[float]:
    """Return the scores of outputs for the source [4] in a beam search."""
    found = logprobs(model, [4], possible) if possible else []
    return [score / beam.penalty(len(ids) + 1) for ids, score in zip(possible, found, strict=True)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("settings", CONSTRAINTS, ids=str)
def test_wide_beam_finds_the_best_valid_answer(settings: dict[str, object], seed: int) -> None:
    model, beam = Toy(seed=seed, spread=2.0), Beam(size=5**LIMIT, nbest=3)
    grammar = seqx.LexicalGrammar(SURFACES, [lexical_constraint(**settings)])  # type: ignore[arg-type]
    (found,) = beam(model, sources([4]), torch.tensor([LIMIT]), grammar)
    valid = [ids for ids in outputs(LIMIT) if is_valid(ids, **settings)]  # type: ignore[arg-type]
    scores = sorted(penalised(beam, model, valid), reverse=True)
    assert [h.score for h in found] == pytest.approx(scores[:3], abs=1e-5)
    assert all(h.logprob == pytest.approx(logprob(model, [4], h.ids), abs=1e-5) for h in found)


@pytest.mark.parametrize("search", [Greedy(), Sampling(), Beam(size=1), Beam(size=3, nbest=3)], ids=repr)
def test_every_search_meets_constraints_that_can_be_met(search: seqx.Search) -> None:
    """A constraint that no answer can meet has no answer. Other sentences of the batch change no answer."""
    model, limits = Toy(seed=1, spread=2.0), torch.tensor([2, 4, 7] * len(CONSTRAINTS))
    batch = [settings for settings in CONSTRAINTS for _ in range(3)]
    source = sources(*[[4 + i % 3, 5] for i in range(len(batch))])
    lexical = [lexical_constraint(**settings) for settings in batch]
    answers = search(model, source, limits, seqx.LexicalGrammar(SURFACES, lexical))
    for i, (settings, limit) in enumerate(zip(batch, limits.tolist(), strict=True)):
        possible = any(is_valid(ids, **settings) for ids in outputs(limit))
        assert bool(answers[i]) == possible, (settings, limit)
        assert all(is_valid(h.ids, **settings) for h in answers[i])
        alone_source = seqx.Column(source.values[i : i + 1], seqx.rows(source.layout, torch.tensor([i])))
        (alone,) = search(model, alone_source, limits[i : i + 1], seqx.LexicalGrammar(SURFACES, [lexical[i]]))
        assert [h.ids for h in alone] == [h.ids for h in answers[i]]


class Even(seqx.Grammar):
    """A grammar of outputs with an even number of symbols."""

    def start(self, rows: int, limits: Tensor) -> Tensor:
        return torch.zeros(rows, dtype=torch.int64)

    def allowed(self, state: Tensor) -> Tensor:
        allowed = torch.ones(len(state), VOCABULARY, dtype=torch.bool)
        allowed[:, seqx.EOS] = state % 2 == 0
        return allowed

    def advance(self, state: Tensor, tokens: Tensor) -> Tensor:
        return state + 1


@pytest.mark.parametrize("settings", CONSTRAINTS, ids=str)
def test_intersection_allows_what_both_grammars_allow(settings: dict[str, object]) -> None:
    model, beam = Toy(seed=2, spread=2.0), Beam(size=5**LIMIT, nbest=1)
    grammar = seqx.Intersection(Even(), seqx.LexicalGrammar(SURFACES, [lexical_constraint(**settings)]))  # type: ignore[arg-type]
    (found,) = beam(model, sources([4]), torch.tensor([LIMIT]), grammar)
    both = [ids for ids in outputs(LIMIT) if len(ids) % 2 == 0 and is_valid(ids, **settings)]  # type: ignore[arg-type]
    best = max(penalised(beam, model, both), default=None)
    assert [h.score for h in found] == ([] if best is None else [pytest.approx(best, abs=1e-5)])


def test_intersection_that_allows_nothing_gives_no_answer() -> None:
    grammar = seqx.Intersection(
        seqx.LexicalGrammar(SURFACES, [lexical_constraint(require=("a",)), lexical_constraint()]),
        seqx.LexicalGrammar(SURFACES, [lexical_constraint(forbid=("a",)), lexical_constraint()]),
    )
    for search in (Greedy(), Sampling(), Beam(size=3)):
        assert [len(a) for a in search(Toy(), sources([4], [5]), torch.tensor([5, 5]), grammar)] == [0, 1]


LONG = "The more that is asked for, the longer it may take, but no more than that. " * 300
LETTERS = seqx.Surfaces(
    [None, None, None, *sorted({letter.encode() for letter in LONG}), b" the", b"an", b"at"]
)


@pytest.mark.parametrize("limit", [1, 60, 1000])
@pytest.mark.parametrize(
    "settings",
    [
        {"require": (LONG[:20_000],)},
        {"require": ("a", LONG[:20_000])},
        {"require": ("a " * 10_000 + "a",)},
        {"prefix": LONG[:20_000]},
    ],
    ids=["phrase", "phrases", "period", "prefix"],
)
def test_required_phrase_that_is_too_long_for_any_answer_needs_no_table(
    settings: dict[str, Any], limit: int
) -> None:
    """The grammar answers without building a table for the phrase."""
    grammar = seqx.LexicalGrammar(
        LETTERS, [lexical_constraint(**settings), lexical_constraint(require=("a",))]
    )
    began = time.process_time()
    state = grammar.start(2, torch.tensor([limit, limit]))
    assert time.process_time() - began < 1
    assert len(grammar.next_node) < 100
    assert grammar.allowed(state).any(1).tolist() == [False, True]


def test_forbidden_phrase_that_is_too_long_for_any_answer_needs_no_table() -> None:
    grammar = seqx.LexicalGrammar(LETTERS, [lexical_constraint(forbid=(LONG[:20_000],))])
    assert grammar.allowed(grammar.start(1, torch.tensor([60])))[0, 2:].all()
    assert len(grammar.next_node) < 100


@pytest.mark.parametrize("text", [LONG, "a " * 3000, "a" * 4000], ids=["text", "period", "letter"])
def test_cost_of_a_phrase_is_linear_in_its_length(text: str) -> None:
    """In a periodic phrase, many prefixes match at the same time."""
    phrase = text[:2000].strip()
    grammar = seqx.LexicalGrammar(LETTERS, [lexical_constraint(require=(phrase,))])
    began = time.process_time()
    state = grammar.start(1, torch.tensor([4000]))
    assert time.process_time() - began < 5  # 0.2 s on an idle machine
    assert len(grammar.next_node) == len(phrase) + 3
    ids = {piece: number for number, piece in enumerate(LETTERS.texts)}
    for letter in phrase.encode():
        assert not grammar.allowed(state)[0, seqx.EOS]
        state = grammar.advance(state, torch.tensor([ids[bytes([letter])]]))
    assert grammar.allowed(state)[0, seqx.EOS]


def test_phrases_with_too_many_bytes_are_refused() -> None:
    many = tuple("".join(letters) for letters in itertools.product("aehmnot", repeat=4))
    with pytest.raises(
        seqx.UserError, match=r"phrases of an answer have [\d,]+ bytes in total; the maximum is 4,096"
    ):
        seqx.LexicalGrammar(LETTERS, [lexical_constraint(forbid=many)]).start(1, torch.tensor([60]))


def test_dynamic_beam_allocation_finds_better_answers_than_forcing_at_the_end() -> None:
    """Banks write required phrases where they are most probable, not only where the grammar forces them."""

    class Forced(seqx.LexicalGrammar):
        def remaining(self, state: object) -> None:
            return None

    gains = []
    for seed in range(30):
        model, limits = Toy(seed=seed, spread=2.0), torch.tensor([12])
        constraints = [lexical_constraint(require=("abb", "äb"))]
        with_banks, forced = (
            Beam(size=6)(model, sources([4]), limits, grammar(SURFACES, constraints))[0][0].score
            for grammar in (seqx.LexicalGrammar, Forced)
        )
        gains.append(with_banks - forced)
    assert sum(gain > 0.01 for gain in gains) > 2 * sum(gain < -0.01 for gain in gains)
    assert sum(gains) / len(gains) > 0.2


LAW_LENGTHS = torch.tensor([4, 6, 3])


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_lexical_grammar_obeys_the_laws_of_grammars(constraint: Any) -> None:
    others = [lexical_constraint(), lexical_constraint(forbid=("a",))]
    seqx.testing.check_grammar(
        seqx.LexicalGrammar(SURFACES, [lexical_constraint(**constraint), *others]), LAW_LENGTHS
    )


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_intersection_of_grammars_obeys_the_laws_of_grammars(constraint: Any) -> None:
    grammars = [
        seqx.LexicalGrammar(SURFACES, [lexical_constraint(**each)] * 3)
        for each in (constraint, {"forbid": ("bb",)})
    ]
    seqx.testing.check_grammar(seqx.Intersection(*grammars), LAW_LENGTHS)
