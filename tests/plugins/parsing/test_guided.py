"""Test the model whose decoder receives the next word."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import seqx
from seqx_parsing import GuidedEncoderDecoder, InOrder, Leaf, Linearisation, TopDown, Vocabulary
from seqx_search import Beam
from seqx_transformer import MultiHeadAttention, ReLU, TransformerDecoder, TransformerEncoder

D = 8
STACK: dict[str, Any] = {
    "layers": 1,
    "attention": partial(MultiHeadAttention, heads=2),
    "feedforward": partial(ReLU, width=16),
    "dropout": 0.0,
}
SIZES = {"source": 20, "target": 12, seqx.WORDS: 6}  # 4 and 5 stand for words
DEFAULT: Any = partial(TransformerDecoder, **STACK)
WORDS = [[3, 1, 2], [1], [1, 1, 1, 4, 1]]
"""Number of tokens of each word, for three sentences."""


class Recorder(seqx.Decoder):
    """A decoder that returns its inputs."""

    def start(self, memory: seqx.Memory | None, count: int, capacity: int | None) -> seqx.State:
        return ()

    def forward(self, inputs: Tensor, state: seqx.State, keep: Tensor | None) -> tuple[Tensor, seqx.State]:
        return inputs, state


def guided(decoder: Any = DEFAULT, seed: int = 0) -> GuidedEncoderDecoder:
    torch.manual_seed(seed)
    model = GuidedEncoderDecoder(
        SIZES, d_model=D, encoder=partial(TransformerEncoder, **STACK), decoder=decoder
    )
    return model.eval()


def source(sentences: list[list[int]], *, with_word_starts: bool = True) -> seqx.Column:
    """Return sentences of random ids, given the number of tokens of each word; each ends with EOS."""
    lengths = torch.tensor([sum(words) + 1 for words in sentences])
    generator = torch.Generator().manual_seed(1)
    ids = torch.zeros(len(sentences), int(lengths.max()), dtype=torch.int64)
    starts = torch.zeros_like(ids)
    for row, words in enumerate(sentences):
        length = int(lengths[row])
        ids[row, : length - 1] = torch.randint(4, 20, (length - 1,), generator=generator)
        ids[row, length - 1] = seqx.EOS
        starts[row, firsts(words)] = 1
    return seqx.Column.of(ids, lengths, starts if with_word_starts else None)


def firsts(words: list[int]) -> list[int]:
    """Return the position of each word's first token."""
    return [sum(words[:i]) for i in range(len(words))]


TARGETS = torch.tensor(
    [
        [seqx.BOS, 6, 4, 6, 5, 9, 4, 8, 8, 4],
        [seqx.BOS, 7, 7, 4, seqx.EOS, 4, 0, 0, 0, 0],
        [seqx.BOS, 4, 5, seqx.UNK, 11, 5, 4, 10, 4, 4],
    ]
)


@pytest.mark.parametrize("with_word_starts", [True, False])
def test_guided_decoder_receives_the_next_word(*, with_word_starts: bool) -> None:
    model = guided(Recorder)
    tokens = source(WORDS, with_word_starts=with_word_starts)
    memory = model.encode(tokens)
    outputs, state = model.advance(TARGETS, model.start(memory, None), None)
    received = outputs - model.target.weight[TARGETS] * model.target.scale
    for row, words in enumerate(WORDS):
        word_positions = firsts(words) if with_word_starts else list(range(sum(words) + 1))
        next_word = 0
        for step, symbol in enumerate(TARGETS[row].tolist()):
            next_word += symbol in (4, 5)
            word = (
                memory.states[row, word_positions[next_word]]
                if next_word < len(word_positions)
                else torch.zeros(D)
            )
            torch.testing.assert_close(received[row, step], model.next(word))
        assert state.written[row] == next_word
    kept = TARGETS != 0
    kept[0, 2] = False  # a word that is masked is not counted as written
    _, state = model.advance(TARGETS, model.start(memory, None), kept)
    assert state.written.tolist() == [3, 2, 6]


LINEARISATIONS = [TopDown(), InOrder()]


@pytest.mark.parametrize("linearisation", LINEARISATIONS, ids=repr)
def test_beam_finds_the_same_trees_in_a_batch_as_for_single_sentences(linearisation: Linearisation) -> None:
    known = Vocabulary(("XX", "?", "(NP", ")NP", "(S", ")S", "(VP", ")VP"))
    model, search = guided(seed=3), Beam(size=4, nbest=3, ratio=2, extra=8, alpha=0.3)

    def found(sentences: list[list[int]], tokens: seqx.Column) -> list[list[seqx.Hypothesis]]:
        limits = search.max_lengths(torch.tensor([sum(words) for words in sentences]))
        grammar = linearisation.grammar(known, torch.tensor([len(words) for words in sentences]))
        return list(search(model, tokens, limits, grammar))

    every = [*WORDS, [2, 1, 1, 1, 1, 1, 3], [1, 1]]
    whole = source(every)
    for row, (words, together) in enumerate(zip(every, found(every, whole), strict=True)):
        one = source([words])
        one.values.copy_(whole.values[row : row + 1, : one.values.size(1)])
        (alone,) = found([words], one)
        assert [hypothesis.ids for hypothesis in alone] == [hypothesis.ids for hypothesis in together]
        logprobs = [hypothesis.logprob for hypothesis in together]
        assert [hypothesis.logprob for hypothesis in alone] == pytest.approx(logprobs, abs=1e-5)
        for hypothesis in alone:
            ids = torch.tensor([[*hypothesis.ids, seqx.EOS]])
            target = seqx.Column.of(ids, torch.tensor([ids.size(1)]))
            assert model.score(seqx.Batch.of(source=one, target=target)).sum().item() == pytest.approx(
                hypothesis.logprob, abs=1e-4
            )
            leaves = [Leaf("XX", "cat")] * len(words)
            assert not linearisation.decode(known.symbols_of(hypothesis.ids), leaves).repaired


@torch.no_grad()
def test_guided_slots_give_the_logits_of_the_core_also_in_refilled_slots() -> None:
    model, generator = guided(), torch.Generator().manual_seed(2)
    first, more = (model.encode(source(words)) for words in (WORDS, [[1, 2], [1, 1, 1, 1, 1, 1, 1, 2]]))
    own, core = model.slots(first, 3, 2, 20), seqx.Generator.slots(model, first, 3, 2, 20)
    assert type(own) is not type(core)

    def write(steps: int, *, begins: bool = False) -> None:
        for step in range(steps):
            ids = torch.randint(4, SIZES["target"], (2 * len(core.occupied),), generator=generator)
            if begins and step == 0:
                ids = torch.full_like(ids, seqx.BOS)
            torch.testing.assert_close(own.step(ids), core.step(ids))

    write(3, begins=True)
    for slots in (own, core):
        slots.reorder(torch.tensor([[1, 1], [0, 1], [1, 0]]))
        slots.release([0, 2])
    write(2)
    for slots in (own, core):
        slots.fill([2, 0], more)
        assert slots.occupied == [0, 1, 2]
    write(6)


def test_without_word_starts_every_token_is_a_word() -> None:
    """EOS counts as a word, too, so the decoder receives it after the last word."""
    model = guided()
    target = seqx.Column.of(torch.tensor([[6, 4, 4, 4, 2], [6, 7, 2, 0, 0]]), torch.tensor([5, 3]))
    with_word_starts, without_word_starts = (
        model.score(
            seqx.Batch.of(source=source([[1, 1, 1], [1]], with_word_starts=with_word_starts), target=target)
        )
        for with_word_starts in (True, False)
    )
    torch.testing.assert_close(with_word_starts[0, :4], without_word_starts[0, :4])
    torch.testing.assert_close(with_word_starts[1], without_word_starts[1])
    assert (with_word_starts[0, 4] - without_word_starts[0, 4]).abs() > 1e-3


def test_guided_needs_a_task_that_defines_word_symbols() -> None:
    with pytest.raises(ValueError, match="the task has no column 'words', whose size tells which target"):
        GuidedEncoderDecoder(
            {"source": 9, "target": 9}, encoder=partial(TransformerEncoder, **STACK), decoder=DEFAULT
        )
