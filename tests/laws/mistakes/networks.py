"""Encoders, decoders, models and positional encodings with typical mistakes.

Letters in shapes: B sentences, S source tokens, T target tokens, C = capacity, D = d_model, V symbols.
"""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import seqx
from tests.laws.mistakes.mistake import Mistake


class MeanEncoder(seqx.Encoder):
    """Adds the mean of the sentence to each token."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.mix = nn.Linear(d_model, d_model)

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        return inputs + self.mix(self.mean(inputs, layout))[:, None]

    def mean(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        keep = layout.keep[..., None]
        return inputs.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)  # [B, D]


class MeanOverPadding(MeanEncoder):
    """Counts padding as tokens."""

    def mean(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        return inputs.mean(1)


class BatchNormEncoder(MeanEncoder):
    """Normalises over the batch."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.norm = nn.BatchNorm1d(d_model)

    def mean(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        return self.norm(super().mean(inputs, layout))


class EncoderInPlace(MeanEncoder):
    """Clears padding in the tensor of its caller."""

    def mean(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        return super().mean(inputs.masked_fill_(~layout.keep[..., None], 0), layout)


class UnseededEncoder(MeanEncoder):
    """Initialises weights with other random numbers than torch's."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        nn.init.constant_(self.mix.weight, random.random())


class UnusedParameter(MeanEncoder):
    """Has weights that do not reach the output."""

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        return super().forward(inputs, layout).detach()


class Cache(NamedTuple):
    """The tokens and the source that the decoder has read; C is at least the number of tokens so far."""

    tokens: Tensor  # [B, C, D]
    keep: Tensor  # [B, C] bool
    source: Tensor  # [B, D]


class CachingDecoder(seqx.Decoder):
    """Adds to each token the mean of the tokens so far and of the source."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.past, self.source = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> Any:
        assert memory is not None
        keep = memory.layout.keep[..., None]
        source = memory.states.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)
        empty = source.new_zeros(batch, 0, self.d_model)
        return Cache(empty, empty[..., 0].bool(), self.source(source))

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        keep = torch.ones(inputs.shape[:2], dtype=torch.bool) if keep is None else keep
        after = state._replace(
            tokens=torch.cat([state.tokens, inputs], 1), keep=torch.cat([state.keep, keep], 1)
        )
        return self.outputs(inputs, after), after

    def outputs(self, inputs: Tensor, after: Cache) -> Tensor:
        kept = after.keep[..., None].to(inputs.dtype)
        totals, counts = (after.tokens * kept).cumsum(1), kept.cumsum(1)
        means = (totals / counts.clamp_min(1))[:, -inputs.size(1) :]
        return inputs + self.past(means) + after.source[:, None]


class LaterTokens(CachingDecoder):
    """Uses the mean of all tokens of the call."""

    def outputs(self, inputs: Tensor, after: Cache) -> Tensor:
        kept = after.keep[..., None].to(inputs.dtype)
        mean = (after.tokens * kept).sum(1) / kept.sum(1).clamp_min(1)
        return inputs + (self.past(mean) + after.source)[:, None]


class CacheWithoutKeep(CachingDecoder):
    """Stores padding as tokens."""

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        return super().forward(inputs, state, None)


class ForgottenCache(CachingDecoder):
    """Returns a state without the new tokens."""

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        return super().forward(inputs, state, keep)[0], state


class CacheInAttribute(CachingDecoder):
    """Keeps the cache in the module."""

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> Any:
        self.cache = super().start(memory, batch, capacity)
        return self.cache.source

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        outputs, self.cache = super().forward(inputs, self.cache._replace(source=state), keep)
        return outputs, state


class SharedBuffer(NamedTuple):
    """A buffer that is allocated once, and that selected rows share."""

    buffer: Tensor  # [B, C, D]
    keep: Tensor  # [B, C]
    source: Tensor  # [B, D]
    row: Tensor  # [N] the row of the buffer of each hypothesis
    used: int  # tokens so far

    def select(self, index: Tensor) -> "SharedBuffer":
        return self._replace(row=self.row[index])

    def fork(self, n: int) -> "SharedBuffer":
        return self._replace(row=self.row.repeat_interleave(n, 0))


class SharedBeams(CachingDecoder):
    """Writes the tokens of all hypotheses of a sentence into one row of a buffer."""

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> Any:
        cache = super().start(memory, batch, capacity)
        buffer = torch.zeros(batch, 20, self.d_model)
        return SharedBuffer(buffer, buffer[..., 0].bool(), cache.source, torch.arange(batch), 0)

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        end = state.used + inputs.size(1)
        with torch.no_grad():
            state.buffer[state.row, state.used : end] = inputs
            state.keep[state.row, state.used : end] = True if keep is None else keep
        tokens, kept = state.buffer[state.row, : state.used], state.keep[state.row, : state.used]
        cache = Cache(tokens, kept, state.source[state.row])
        return super().forward(inputs, cache, keep)[0], state._replace(used=end)


class SmallCache(CachingDecoder):
    """Keeps one token less than the next token needs, if the capacity is known."""

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> Any:
        self.room = 20 if capacity is None else capacity - 2
        return super().start(memory, batch, capacity)

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        cut = state._replace(tokens=state.tokens[:, : self.room], keep=state.keep[:, : self.room])
        return super().forward(inputs, cut, keep)


class Bigram(seqx.Generator):
    """Predicts the next token from the last one and from the mean of the source."""

    def __init__(self, vocab_sizes: Mapping[str, int]) -> None:
        super().__init__(vocab_sizes)
        self.d_model = 8
        self.read, self.last = (nn.Embedding(vocab_sizes[column], 8) for column in ("source", "target"))
        self.out = nn.Linear(8, vocab_sizes["target"])

    def encode(self, source: seqx.Column) -> seqx.Memory:
        words = self.read(source.values)
        return seqx.Memory(words, words, source.layout)

    def start(self, memory: seqx.Memory, capacity: int | None) -> Any:
        keep = memory.layout.keep[..., None]
        mean = memory.states.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)
        return mean, torch.zeros_like(mean[:, 0]).long()  # and the number of tokens [B]

    def advance(self, ids: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        mean, count = state
        kept = torch.ones_like(ids) if keep is None else keep.long()
        positions = (count[:, None] + kept.cumsum(1) - 1)[..., None]  # [B, T, 1]
        return (self.last(ids) + mean[:, None]) * (1 + positions), (mean, count + kept.sum(1))

    def head(self, outputs: Tensor) -> Tensor:
        return self.out(outputs)


class SeesTheTarget(Bigram):
    """Reads the token that it predicts."""

    def forward(self, batch: seqx.Batch) -> Tensor:
        target, state = batch.columns["target"], self.start(self.encode(batch.columns["source"]), None)
        return self.advance(target.values, state, target.layout.keep)[0]


class CountsPadding(Bigram):
    """Counts padding as target tokens."""

    def advance(self, ids: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        return super().advance(ids, state, None)


class AddedVectors(seqx.PositionalEncoding):
    """Adds a learned vector for each position, and to scores a learned multiple of the key's position."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.table, self.slope = nn.Embedding(20, d_model), nn.Parameter(torch.ones(1))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + self.table(positions)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (self.slope * k_positions)[:, None, None, :].expand(-1, -1, q.size(2), -1)


class TableInAttribute(AddedVectors):
    """Keeps a table of sines in an attribute, which does not move with the module."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(d_model, heads)
        self.sines = torch.arange(20.0).sin()[:, None]

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return super().embed(x, positions) + self.sines[positions]


class IndicesInEmbed(AddedVectors):
    """Numbers the tokens of the tensor."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return super().embed(x, torch.arange(x.size(1)))


class IndicesInBias(AddedVectors):
    """Numbers the keys of the tensor."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return super().bias(q, k, q_positions, torch.arange(k.size(2)).expand_as(k_positions))


class PositionsOfTheFirst(AddedVectors):
    """Uses the positions of the first sentence for all."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return super().bias(q, k, q_positions, k_positions[:1].expand_as(k_positions))


PADDING, INCREMENTAL = "padding_does_not_change_outputs", "incremental_outputs_equal_parallel_outputs"
LATER, CONTINUE = "outputs_do_not_depend_on_later_tokens", "sentences_continue_after_padding"

CORRECT: dict[type, Any] = {
    seqx.Encoder: MeanEncoder,
    seqx.Decoder: CachingDecoder,
    seqx.Model: Bigram,
    seqx.PositionalEncoding: AddedVectors,
}

MISTAKES = [
    Mistake(
        "a mean over padding",
        seqx.Encoder,
        MeanOverPadding,
        PADDING,
        r"forward: .* the embeddings of padding.* over tokens only",
    ),
    Mistake(
        "batch normalisation",
        seqx.Encoder,
        BatchNormEncoder,
        "sentences_do_not_influence_each_other",
        r"forward: in training mode, .* not batch norm",
    ),
    Mistake(
        "embeddings that are changed in place",
        seqx.Encoder,
        EncoderInPlace,
        "arguments_are_not_changed",
        r"EncoderInPlace changes a tensor",
    ),
    Mistake(
        "initial weights from Python's `random`",
        seqx.Encoder,
        UnseededEncoder,
        "seed_determines_weights",
        r"mix\.weight; initialise them with torch's",
    ),
    Mistake(
        "a parameter behind `detach`",
        seqx.Encoder,
        UnusedParameter,
        "every_parameter_gets_a_gradient",
        r"mix\.weight, mix\.bias; .* `detach`",
    ),
    Mistake(
        "a mean over all target tokens",
        seqx.Decoder,
        LaterTokens,
        LATER,
        r"forward: the output of token 2 .* mean or norm over time",
    ),
    Mistake(
        "a cache that ignores `keep`",
        seqx.Decoder,
        CacheWithoutKeep,
        CONTINUE,
        r"forward: after 3 tokens and 3 of padding, .* store `keep` with the keys",
    ),
    Mistake(
        "a cache that is not extended",
        seqx.Decoder,
        ForgottenCache,
        INCREMENTAL,
        r"forward: with 1 tokens .*, token 1 .* a cache that is not extended",
    ),
    Mistake(
        "a cache that is one token too small",
        seqx.Decoder,
        SmallCache,
        INCREMENTAL,
        r"forward: .* token 5 .* \(capacity: 6\).* too small",
    ),
    Mistake(
        "a cache in an attribute",
        seqx.Decoder,
        CacheInAttribute,
        "states_do_not_influence_each_other",
        r"forward: two states .* not in an attribute",
    ),
    Mistake(
        "a state that beams share",
        seqx.Decoder,
        SharedBeams,
        "rows_of_a_state_can_be_forked",
        r"forward: .* forked with seqx\.fork.* must copy",
    ),
    Mistake(
        "a target that is not shifted",
        seqx.Model,
        SeesTheTarget,
        LATER,
        r"forward: .* Shift the target right",
    ),
    Mistake(
        "padding that counts as target tokens",
        seqx.Model,
        CountsPadding,
        CONTINUE,
        r"advance: after 3 tokens and 3 of padding, .* pass `keep` on",
    ),
    Mistake(
        "a table in an attribute",
        seqx.PositionalEncoding,
        TableInAttribute,
        "tensors_are_on_the_device_of_the_inputs",
        r"networks\.py:\d+: `torch\.arange` .* constructor creates parameters or buffers",
    ),
    Mistake(
        "indices instead of positions in `embed`",
        seqx.PositionalEncoding,
        IndicesInEmbed,
        "encoding_depends_on_positions_only",
        r"embed: .* not `torch\.arange",
    ),
    Mistake(
        "indices of keys in `bias`",
        seqx.PositionalEncoding,
        IndicesInBias,
        "encoding_depends_on_positions_only",
        r"bias: .* not `torch\.arange",
    ),
    Mistake(
        "the positions of the first sentence",
        seqx.PositionalEncoding,
        PositionsOfTheFirst,
        "each_sentence_has_its_own_positions",
        r"bias: .* not `positions\[0\]`",
    ),
]
