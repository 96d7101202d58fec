"""Diverse beam search compared with a search of one sentence that is written with lists."""

import math

import pytest
import torch

import seqx
from seqx_search import Beam, DiverseBeam
from tests.plugins.search.toy import Toy, logprob, sources

LIMIT = 5


def symbol_logprobs(model: seqx.Generator, source: list[int], ids: list[int]) -> list[float]:
    """Return the log-probability of each next symbol after `ids`."""
    size = model.vocab_sizes["target"]
    assert isinstance(size, int)
    with torch.no_grad():
        state = model.start(model.encode(sources(source)), None)
        outputs, _ = model.advance(torch.tensor([[seqx.BOS, *ids]]), state, None)
        return model.head(outputs)[0, -1].double().log_softmax(0).tolist()


def by_lists(search: DiverseBeam, model: seqx.Generator, source: list[int], limit: int) -> list[list[int]]:
    """Return the answers, best first, found as in algorithm 1 of Vijayakumar et al. 2016."""
    width, nbest = search.size // search.groups, -(-search.nbest // search.groups)
    beams: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(search.groups)]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(search.groups)]
    for step in range(limit + 1):
        taken: dict[int, int] = {}  # the hypotheses of earlier groups that take each symbol
        for group, beam in enumerate(beams):
            candidates = []
            for score, ids in beam:
                for symbol, value in enumerate(symbol_logprobs(model, source, ids)):
                    if step == limit and symbol == seqx.EOS:
                        candidates.append((score + value, [*ids, symbol]))
                    elif step < limit and symbol >= seqx.EOS:
                        penalty = search.diversity * taken.get(symbol, 0)
                        candidates.append((score + value - penalty, [*ids, symbol]))
            candidates.sort(key=lambda candidate: -candidate[0])
            for score, ids in candidates[:width]:
                if ids[-1] == seqx.EOS:
                    ended[group].append((score / search.penalty(step + 1), ids[:-1]))
                    taken[seqx.EOS] = taken.get(seqx.EOS, 0) + 1
            beams[group] = [(score, ids) for score, ids in candidates if ids[-1] != seqx.EOS][:width]
            for _, ids in beams[group]:
                taken[ids[-1]] = taken.get(ids[-1], 0) + 1
    best = [sorted(group, key=lambda hypothesis: -hypothesis[0])[:nbest] for group in ended]
    return [ids for _, ids in sorted((h for group in best for h in group), key=lambda h: -h[0])][
        : search.nbest
    ]


@pytest.mark.parametrize("nbest", [1, 3, 4])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_diverse_beam_equals_the_algorithm_of_the_paper(nbest: int, groups: int, seed: int) -> None:
    model = Toy(seed=seed, spread=2.0)
    search = DiverseBeam(size=4, nbest=nbest, groups=groups, diversity=1.5)
    found = search(model, sources([4], [6, 5]), torch.tensor([LIMIT, LIMIT]))
    for source, hypotheses in zip(([4], [6, 5]), found, strict=True):
        assert [h.ids for h in hypotheses] == by_lists(search, model, source, LIMIT)
        for hypothesis in hypotheses:
            assert hypothesis.logprob == pytest.approx(logprob(model, source, hypothesis.ids), abs=1e-5)


def test_one_group_is_beam_search() -> None:
    model = Toy(seed=3, spread=1.0)
    for nbest in (1, 3):
        beam = Beam(size=3, nbest=nbest)(model, sources([6, 4]), torch.tensor([9]))[0]
        diverse = DiverseBeam(size=3, nbest=nbest, groups=1)(model, sources([6, 4]), torch.tensor([9]))[0]
        assert diverse == beam


def test_groups_begin_with_different_symbols_if_diversity_is_large() -> None:
    model = Toy(seed=1, spread=1.0)
    search = DiverseBeam(size=3, nbest=3, groups=3, diversity=100.0, alpha=0)
    (found,) = search(model, sources([4]), torch.tensor([LIMIT]))
    (usual,) = Beam(size=3, nbest=3, alpha=0)(model, sources([4]), torch.tensor([LIMIT]))
    assert len({tuple(h.ids[:1]) for h in found}) == 3
    assert len({tuple(h.ids[:1]) for h in usual}) < 3
    assert found[0].score == pytest.approx(found[0].logprob)  # that of the first group, without a penalty


def test_trace_of_diverse_beam_has_the_hypotheses_of_each_group() -> None:
    trace = seqx.SearchTrace(1)
    search = DiverseBeam(size=4, nbest=4, groups=2, diversity=1.0)
    (found,) = search(Toy(seed=2, spread=2.0), sources([4]), torch.tensor([LIMIT]), trace=trace)
    first, *_ = trace.steps[0]
    assert [h.outcome for h in first].count("kept") == 4
    finished = [h for step in trace.steps[0] for h in step if h.outcome == "finished"]
    assert {tuple(h.ids) for h in found} <= {tuple(h.ids[:-1]) for h in finished}
    assert all(math.isfinite(h.score) for h in finished)


def test_groups_must_divide_the_beam() -> None:
    with pytest.raises(ValueError, match="groups is 3, which does not divide size, 4; change one of them"):
        DiverseBeam(size=4, groups=3)


def test_beam_of_a_group_is_built_once_per_search(monkeypatch: pytest.MonkeyPatch) -> None:
    search = DiverseBeam(size=4, nbest=4, groups=2)
    built: list[Beam] = []

    def record(beam: Beam) -> None:
        built.append(beam)

    monkeypatch.setattr(Beam, "__post_init__", record)
    model = Toy(seed=2, spread=0.1)
    search(model, sources([4], [6, 5]), torch.tensor([LIMIT, LIMIT]))
    assert model.steps > 2
    assert len(built) == 1
