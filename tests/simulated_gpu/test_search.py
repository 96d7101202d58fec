"""Searches with all grammars and constraints give the same answers on the simulated GPU as on the CPU.

The host waits for the device at most once in eight steps.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import seqx
import seqx_parsing
from seqx.constraints import LexicalGrammar
from seqx.runtime.devices import deterministic
from seqx_parsing.bracket_grammar import BracketGrammar
from seqx_parsing.vocabulary import Vocabulary
from seqx_search import Beam, Sampling
from seqx_search.processors import MinLength, NoRepeatNgram, RepetitionPenalty
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.simulated_gpu.small import (
    CPU,
    CUDA,
    LIMITS,
    SIZES,
    SOURCE,
    assert_same_answers,
    decode,
    registry,
    setup,
)

MakeGrammar = Callable[[], seqx.Grammar | None]

SIZE = SIZES["target"]
LABELS = ("S", "NP", "VP")
VOCABULARY = Vocabulary((*(f"({label}" for label in LABELS), *(f"){label}" for label in LABELS), "XX"))
WORDS = SOURCE.layout.keep.sum(1) - 1
SURFACES = seqx.Surfaces(
    [None] * 4 + [chr(ord("a") + i % 26).encode() * (1 + i // 26) for i in range(SIZE - 4)]
)
CONSTRAINTS = [
    seqx.LexicalConstraint(prefix=b"abc"),
    seqx.LexicalConstraint(require=("d", "fg"), forbid=("e",)),
    seqx.LexicalConstraint(prefix=b"a", require=("zz",)),
    seqx.LexicalConstraint(),
]


def linearisation_grammar(name: str) -> MakeGrammar:
    linearisation = registry().components(seqx_parsing.Linearisation)[name].maker()
    return lambda: linearisation.grammar(VOCABULARY, WORDS)


def lexical_grammar() -> LexicalGrammar:
    return LexicalGrammar(SURFACES, CONSTRAINTS)


GRAMMARS: dict[str, tuple[int, MakeGrammar]] = {  # number of symbols, and a function that makes the grammar
    "none": (SIZE, lambda: None),
    "lexical": (SIZE, lexical_grammar),
    "intersection": (
        SIZE,
        lambda: seqx.Intersection(
            lexical_grammar(), LexicalGrammar(SURFACES, [seqx.LexicalConstraint(forbid=("b",))] * 4)
        ),
    ),
    **{
        name: (VOCABULARY.size, linearisation_grammar(name))
        for name in registry().components(seqx_parsing.Linearisation)
    },
}


class StepCounter(seqx.Generator):
    """A model that calls another model, and counts its decoding steps."""

    def __init__(self, model: seqx.Generator) -> None:
        super().__init__(model.vocab_sizes)
        self.model, self.steps = model, 0

    def encode(self, source: seqx.Column) -> Any:
        return self.model.encode(source)

    def start(self, memory: Any, capacity: int | None) -> Any:
        return self.model.start(memory, capacity)

    def advance(self, ids: torch.Tensor, state: Any, keep: torch.Tensor | None) -> Any:
        self.steps += 1
        return self.model.advance(ids, state, keep)

    def head(self, outputs: torch.Tensor) -> torch.Tensor:
        return self.model.head(outputs)


def build_model(folder: Path, size: int, seed: int = 1) -> StepCounter:
    """Return a model with weights so large that its outputs differ from step to step."""
    torch.manual_seed(seed)
    model = setup(folder, []).model({"source": SIZES["source"], "target": size})
    assert isinstance(model, seqx.Generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return StepCounter(model).eval()


SEARCHES: dict[str, seqx.Search] = {
    **{name: component.maker() for name, component in registry().components(seqx.Search).items()},
    "n-best": Beam(size=5, nbest=3, alpha=1.0),
    "beam of size 1": Beam(size=1),
    "score processors": Beam(
        size=3, processors=[MinLength(length=4), NoRepeatNgram(size=2), RepetitionPenalty()]
    ),
}


def allowed_waits(steps: int, name: str) -> int:
    """Return the allowed number of waits; sampling waits once more to seed its draws."""
    return -(-steps // 8) + (name == "sampling")


# Searches do not depend on the class of a grammar, so only two of them run with those in MORE_GRAMMARS.
MORE_GRAMMARS = GRAMMARS.keys() - {"none", "lexical", "top_down"}
CASES = [
    (search, grammar)
    for search in SEARCHES
    for grammar in GRAMMARS
    if grammar not in MORE_GRAMMARS or search in ("beam", "greedy")
]
SHORT = torch.tensor([12, 7, 10, 3])


@pytest.mark.parametrize(("search", "grammar"), CASES)
def test_searches_give_the_same_answers_as_on_the_cpu(search: str, grammar: str, recipe_folder: Path) -> None:
    size, make_grammar = GRAMMARS[grammar]
    model = build_model(recipe_folder, size)
    expected = decode(model, SEARCHES[search], CPU, make_grammar(), limits=SHORT)
    model.steps = 0
    with SimulatedGpu() as gpu:
        model.to("cuda")
        source = SOURCE.to(CUDA)
        gpu.reset()
        with torch.no_grad():
            actual = [list(hs) for hs in SEARCHES[search](model, source, SHORT, make_grammar())]
        assert sum(gpu.waits.values()) <= allowed_waits(model.steps, search), (model.steps, gpu.waits)
        assert not gpu.mixes
    assert_same_answers(actual, expected)
    assert any(actual)


def test_long_outputs_keep_the_limit_of_waits(recipe_folder: Path) -> None:
    limits = torch.tensor([43, 39, 2, 30])
    model = build_model(recipe_folder, VOCABULARY.size)
    with torch.no_grad(), SimulatedGpu() as gpu:
        model.to("cuda")
        gpu.reset()
        nbests = Beam(size=3)(model, SOURCE.to(CUDA), limits, linearisation_grammar("top_down")())
        steps = model.steps
        assert sum(gpu.waits.values()) <= allowed_waits(steps, "beam")
    assert all(nbests)
    assert steps > 20


@pytest.mark.parametrize("name", ["generators"])
def test_ensemble_gives_the_same_answers_as_on_the_cpu(name: str, recipe_folder: Path) -> None:
    def ensemble() -> seqx.Generator:
        models = [build_model(recipe_folder, SIZE, seed).model for seed in (1, 2)]
        return registry().components(seqx.Ensemble)[name].maker(models).eval()

    expected = decode(ensemble(), Beam(size=3), CPU)
    model = StepCounter(ensemble())
    with SimulatedGpu() as gpu:
        model.to("cuda")
        source = SOURCE.to(CUDA)
        gpu.reset()
        with torch.no_grad():
            actual = [list(hs) for hs in Beam(size=3)(model, source, LIMITS)]
        assert sum(gpu.waits.values()) <= allowed_waits(model.steps, "beam"), gpu.waits
        assert not gpu.mixes
    assert_same_answers(actual, expected)


def test_all_grammars_are_tested() -> None:
    def concrete_classes(cls: type) -> set[type]:
        own: set[type] = set() if inspect.isabstract(cls) else {cls}
        return own.union(*map(concrete_classes, cls.__subclasses__()))

    tested = {type(make()) for _, make in GRAMMARS.values()} - {type(None)}
    registry()
    defined = {cls for cls in concrete_classes(seqx.Grammar) if cls.__module__.startswith("seqx")}
    assert {cls for cls in defined if not cls.__module__.startswith("seqx.testing")} == tested
    assert issubclass(type(linearisation_grammar("top_down")()), BracketGrammar)


# --- faults that the tests above must detect


class WaitsInEachStep(StepCounter):
    """A model that waits for the device in each step."""

    def advance(self, ids: torch.Tensor, state: Any, keep: torch.Tensor | None) -> Any:
        assert int(ids.max()) < SIZE
        return super().advance(ids, state, keep)


def test_wait_in_each_step_exceeds_the_limit(recipe_folder: Path) -> None:
    model = WaitsInEachStep(build_model(recipe_folder, SIZE).model).eval()
    with torch.no_grad(), SimulatedGpu() as gpu:
        model.to("cuda")
        Beam(size=3)(model, SOURCE.to(CUDA), LIMITS)
        assert model.steps <= sum(gpu.waits.values()) > allowed_waits(model.steps, "beam")
        assert any("tests/simulated_gpu/test_search.py" in where for where in gpu.waits)


def test_different_answer_on_the_device_is_detected(recipe_folder: Path) -> None:
    model = build_model(recipe_folder, SIZE)
    expected = decode(model, Beam(size=3), CPU)
    with SimulatedGpu():
        for parameter in model.to("cuda").parameters():
            parameter.data.mul_(1.5)
        actual = decode(model, Beam(size=3), CUDA)
    with pytest.raises(AssertionError):
        assert_same_answers(actual, expected)


@pytest.mark.parametrize(
    "search",
    [*(made.maker() for made in registry().components(seqx.Search).values()), Sampling(top_p=0.9)],
    ids=str,
)
def test_searches_run_with_deterministic_kernels(search: seqx.Search, recipe_folder: Path) -> None:
    """A run with `training.deterministic` would otherwise end at its first validation."""
    model = setup(recipe_folder, []).model(SIZES).eval()
    with SimulatedGpu(), deterministic(enabled=True):
        assert len(decode(model.to("cuda"), search, CUDA)) == len(LIMITS)
