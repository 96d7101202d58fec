"""Laws of grammars. A task creates grammars, so they are tested with the task.

Letters in shapes: B sentences, N hypotheses, T symbols written, V symbols of the vocabulary.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from seqx.interfaces.learning import Grammar
from seqx.interfaces.tensors import EOS, State, fork, rows
from seqx.tasks.seq2seq import GenerationTask
from seqx.testing.law import Subject, law
from seqx.testing.tasks import learned

SELF_CHANGE = (
    "allowed: after the same symbols, {} allows other symbols. Keep all that changes in the state, not in "
    "attributes of the grammar, create it in `start`, and let `allowed` and `advance` return new tensors"
)


def check_grammar(grammar: Grammar, max_lengths: Tensor) -> None:
    """Assert that what a grammar allows is a function of the symbols written so far.

    A test of a plugin calls it for grammars that its task creates only sometimes.

    Args:
        grammar: grammar of B sentences
        max_lengths: maximum number of tokens of each output, EOS excluded: [B] int64

    Raises:
        AssertionError: the grammar breaks a law
    """
    grammar.prepare(max_lengths.tolist())
    tokens, expected = _write(grammar, max_lengths, seed=0)
    _write(grammar, max_lengths, seed=1)
    state = grammar.start(len(max_lengths), max_lengths)
    for step, allowed in enumerate(expected):
        assert grammar.allowed(state).equal(allowed), SELF_CHANGE.format("a second search")
        state = grammar.advance(state, tokens[:, step])
    _check_beam(grammar, max_lengths)


def _write(grammar: Grammar, max_lengths: Tensor, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Write random allowed symbols; return them [B, T], and what was allowed at each step [B, V]."""
    generator = torch.Generator().manual_seed(seed)
    state = grammar.start(len(max_lengths), max_lengths)
    tokens, history = [], []
    for step in range(int(max_lengths.max()) + 1):
        allowed = grammar.allowed(state).clone()
        history.append(allowed)
        assert (allowed.dtype, len(allowed)) == (torch.bool, len(max_lengths)), (
            f"allowed: return [N, V] bool, not {list(allowed.shape)} {allowed.dtype}"
        )
        at_limit = (max_lengths == step) & allowed.any(1)
        assert allowed[at_limit, EOS].all(), (
            f"allowed: after {step} symbols, the maximum, EOS must be allowed, because the search ends there"
        )
        grammar.allowed(state).logical_not_()  # a search may change what it gets
        assert grammar.allowed(state).equal(allowed), SELF_CHANGE.format("a second call")
        remaining = grammar.remaining(state)
        assert remaining is None or (remaining.shape == allowed.shape and (remaining >= 0).all()), (
            "remaining: return [N, V] integers >= 0, or None"
        )
        tokens.append(_draw(allowed, generator))
        state = grammar.advance(state, tokens[-1])
    return torch.stack(tokens, 1), history


def _draw(allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an allowed symbol for each hypothesis [N]; EOS if none is allowed."""
    weights = allowed.float()
    weights[:, EOS] = 0  # long outputs test more
    weights[:, EOS] = weights.sum(1) == 0
    return torch.multinomial(weights, 1, generator=generator)[:, 0]


def _check_beam(grammar: Grammar, max_lengths: Tensor) -> None:
    """Assert that hypotheses of one sentence that continue differently do not influence each other."""
    generator, count = torch.Generator().manual_seed(2), len(max_lengths)
    state: State = fork(grammar.start(count, max_lengths), 2)
    written = torch.empty(2 * count, 0, dtype=torch.int64)
    swapped = torch.arange(2 * count).view(count, 2).flip(1).flatten()
    order = swapped.where(torch.arange(2 * count) > 1, 0)  # both hypotheses of sentence 0 have one parent
    for step in range(min(6, int(max_lengths.max()))):
        allowed = grammar.allowed(state).clone()
        for hypothesis in (0, 1):
            alone = grammar.start(count, max_lengths)
            for token in written[hypothesis::2].T:
                alone = grammar.advance(alone, token)
            assert allowed[hypothesis::2].equal(grammar.allowed(alone)), (
                f"advance: after {step} symbols, a hypothesis in a beam allows other symbols than alone. "
                "Keep all that differs between hypotheses in tensors of the state whose first dimension is "
                "N, and do not change tensors in place that hypotheses share"
            )
        token = _draw(allowed, generator)
        state, written = grammar.advance(state, token), torch.cat([written, token[:, None]], 1)
        state, written = rows(state, order), written[order]


@law(GenerationTask)
def grammar_depends_on_the_written_symbols_only(subject: Subject) -> None:
    """The grammar of some inputs, if there is one, allows the same symbols after the same symbols."""
    built: GenerationTask = subject.build()
    if type(built).grammar is GenerationTask.grammar:
        return
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        assert isinstance(task, GenerationTask)
        inputs = [task.read(text) for text in task.inputs(task.read_split("test"))[:3]]
        grammar = task.grammar(inputs)
        if grammar is not None:
            check_grammar(grammar, torch.tensor([2 * len(columns["source"]) + 4 for columns in inputs]))
