"""The choice of kernels, messages, shared masks and prepared positions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import seqx
from seqx_transformer import (
    Alibi,
    Combined,
    Cpu,
    Flex,
    GroupedQueryAttention,
    HeadInputs,
    Kernel,
    MultiHeadAttention,
    RestrictedAttention,
    Rotary,
    Sdpa,
    Shaw,
    TransformerDecoder,
    TransformerEncoder,
)
from seqx_transformer.attention import CPU, EAGER, FEW_QUERIES, choose_kernel
from seqx_transformer.kernels.kernel import FEW, Eager, with_repeated_groups
from seqx_transformer.layers import Dropout

D, HEADS = 16, 2


def inputs(length: int, dtype: torch.dtype = torch.float32, p: float = 0.0) -> HeadInputs:
    layout = seqx.Layout.of(torch.ones(1, length, dtype=torch.bool))
    q = torch.zeros(1, 1, length, 4, dtype=dtype)
    memory = seqx.KeyValue(q, q, layout)
    return HeadInputs(q, memory, seqx.Positioned.unordered(layout), seqx.Mask(), None, Dropout(p).train())


def embeddings(batch: int, length: int) -> torch.Tensor:
    return torch.randn(batch, length, D, generator=torch.Generator().manual_seed(0))


def layout_of(*lengths: int) -> seqx.Layout:
    return seqx.Layout.of(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def test_kernel_is_chosen_by_length_dtype_and_dropout_on_a_cpu() -> None:
    assert choose_kernel(None, inputs(512)) is CPU
    assert choose_kernel(None, inputs(511)) is EAGER
    assert choose_kernel(None, inputs(512, torch.bfloat16)) is EAGER
    assert choose_kernel(None, inputs(512, p=0.1)) is EAGER


@torch.no_grad()
def test_few_queries_have_a_kernel_of_their_own_in_a_search() -> None:
    in_search = inputs(FEW)._replace(dropout=Dropout(0.0))
    assert choose_kernel(None, in_search) is FEW_QUERIES
    assert choose_kernel(None, inputs(FEW + 1)) is EAGER
    assert choose_kernel(None, in_search._replace(positional=torch.zeros(1, 1, FEW, FEW))) is EAGER
    assert choose_kernel(None, in_search._replace(scores=torch.matmul)) is EAGER
    with torch.enable_grad():
        assert choose_kernel(None, in_search) is EAGER


@torch.no_grad()
@pytest.mark.parametrize("shared", [False, True])
def test_kernel_for_few_queries_agrees_with_eager(shared: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, HEADS, length, 6) for length in (3, 5, 5))
    queries, keys = layout_of(3, 2), layout_of(5, 4)
    mask = seqx.Mask(allowed=torch.rand(2, 3, 5) < 0.7)
    if shared:
        mask = mask.share(queries, keys)
    positioned, memory = seqx.Positioned.unordered(queries), seqx.KeyValue(k, v, keys)
    few = HeadInputs(q.mT.contiguous().mT, memory, positioned, mask, None, Dropout(0.0), scale=0.4)
    expected = EAGER(few._replace(queries=q * 0.4, scale=1.0))
    torch.testing.assert_close(FEW_QUERIES(few), expected)


@torch.no_grad()
@pytest.mark.parametrize("kernel", [EAGER, FEW_QUERIES, Sdpa()])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, FEW + 1])
def test_kernels_read_the_keys_and_values_of_groups(kernel: Kernel, groups: int, length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, length, 4, 6, generator=generator).transpose(1, 2)
    k, v = (torch.randn(2, groups, 5, width, generator=generator) for width in (6, 3))
    queries, keys = layout_of(length, 1), layout_of(5, 4)
    mask = seqx.Mask(allowed=torch.rand(2, length, 5, generator=generator) < 0.7).share(queries, keys)
    positioned, memory = seqx.Positioned.unordered(queries), seqx.KeyValue(k, v, keys)
    grouped = HeadInputs(q, memory, positioned, mask, None, Dropout(0.0))
    repeated = with_repeated_groups(grouped)
    assert repeated.memory.keys.shape == (2, 4, 5, 6)
    assert repeated.memory.keys[:, :: 4 // groups].equal(k)
    torch.testing.assert_close(kernel(grouped), EAGER(repeated))


class Recorder(Eager):
    """A kernel that records the keys that it gets."""

    keys: torch.Tensor

    def __call__(self, inputs: HeadInputs) -> torch.Tensor:
        self.keys = inputs.memory.keys
        return super().__call__(inputs)


@pytest.mark.parametrize("reads_groups", [True, False])
def test_groups_are_repeated_only_for_kernels_that_do_not_read_them(
    reads_groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "reads_groups", reads_groups)
    attention = GroupedQueryAttention(D, heads=4, groups=2, kernel=Recorder)
    positioned, x = seqx.Positioned.unordered(layout_of(5)), embeddings(1, 5)
    memory = attention.project(x, x, positioned)
    attention(x, positioned, memory, seqx.Mask())
    assert isinstance(attention.kernel, Recorder)
    expected = memory.keys if reads_groups else memory.keys.repeat_interleave(2, 1)
    assert attention.kernel.keys.equal(expected)
    assert (attention.kernel.keys is memory.keys) is reads_groups


def test_kernel_that_cannot_be_used_is_an_error_with_its_reason() -> None:
    with pytest.raises(
        seqx.UserError, match=r"kernel cpu cannot be used: it is slow in precisions other than fp32"
    ):
        choose_kernel(Cpu(), inputs(4, torch.bfloat16))
    x, layout = embeddings(1, 5), layout_of(5)
    attention = MultiHeadAttention(D, heads=HEADS, kernel=Flex)
    positioned = seqx.Positioned.unordered(layout)
    with pytest.raises(seqx.UserError, match=r"flex cannot be used: it computes no gradients on a CPU"):
        attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())


@pytest.mark.slow  # the first call of flex attention imports the compiler
@pytest.mark.parametrize("make", [MultiHeadAttention, GroupedQueryAttention])
def test_encoder_gives_the_same_states_with_every_kernel(make: Any) -> None:
    def states(kernel: Any) -> torch.Tensor:
        torch.manual_seed(0)

        def attention(d_model: int) -> seqx.Attention:
            return make(d_model, heads=HEADS, kernel=kernel)

        encoder = TransformerEncoder(D, layers=2, attention=attention, positions=Rotary).eval()
        with torch.no_grad():
            return encoder(embeddings(2, 9), layout)[layout.keep]

    layout = layout_of(9, 6)
    for kernel in (Sdpa, Cpu, Flex):
        torch.testing.assert_close(states(kernel), states(None), rtol=1e-4, atol=1e-5)


def test_mask_is_computed_once_per_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    visible = seqx.Mask._visible

    def count(mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> torch.Tensor:
        computed.append(mask.causal)
        return visible(mask, queries, keys)

    monkeypatch.setattr(seqx.Mask, "_visible", count)
    source = layout_of(7, 4)
    torch.manual_seed(0)
    encoder, decoder = TransformerEncoder(D, layers=3).eval(), TransformerDecoder(D, layers=3).eval()
    computed.clear()
    states = encoder(embeddings(2, 7), source)
    assert computed == [False]
    state: Any = decoder.start(seqx.Memory(states, states, source), 2, None)
    _, state = decoder(embeddings(2, 1), state, None)
    assert sorted(computed) == [False, False, True]
    # the layers still share their layouts after the rows of a state are forked and reordered
    state = seqx.rows(seqx.fork(state, 2), torch.tensor([3, 0, 0, 2]))
    computed.clear()
    decoder(embeddings(4, 1), state, None)
    assert sorted(computed) == [False, True]


def test_sdpa_needs_no_mask_for_causal_attention_within_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[torch.Tensor | None] = []
    compute = F.scaled_dot_product_attention

    def record(q: Any, k: Any, v: Any, mask: torch.Tensor | None, *args: Any, **kwargs: Any) -> torch.Tensor:
        masks.append(mask)
        return compute(q, k, v, mask, *args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)

    def outputs(kernel: Any, positions: Any) -> torch.Tensor:
        torch.manual_seed(0)

        def attention(d_model: int) -> seqx.Attention:
            return MultiHeadAttention(d_model, heads=HEADS, kernel=kernel)

        decoder = TransformerDecoder(
            D, layers=2, attention=attention, use_source=False, positions=positions
        ).eval()
        return decoder(embeddings(2, 7), decoder.start(None, 2, None), layout.keep)[0][layout.keep]

    layout = layout_of(7, 4)
    torch.testing.assert_close(outputs(Sdpa, Rotary), outputs(None, Rotary), rtol=1e-4, atol=1e-5)
    assert masks == [None, None]
    torch.testing.assert_close(outputs(Sdpa, Alibi), outputs(None, Alibi), rtol=1e-4, atol=1e-5)
    assert all(mask is not None for mask in masks[2:])  # it contains the term of the positions


def test_mask_of_padding_has_one_row_for_all_queries() -> None:
    additive = seqx.Mask().additive(layout_of(50, 50), layout_of(70, 40), torch.float32)
    assert additive.shape == (2, 1, 50, 70)
    assert additive.untyped_storage().nbytes() == 2 * 70 * 4


def test_shared_forms_are_used_for_their_mask_and_layouts_only() -> None:
    queries, keys = layout_of(5, 3), layout_of(6, 4)
    mask = seqx.Mask(causal=True).share(queries, keys)
    assert mask.dense(queries, keys) is mask.dense(queries, keys)
    allowed = torch.ones(2, 5, 6, dtype=torch.bool)
    allowed[:, :, 0] = False
    for other in (mask._replace(causal=False), mask._replace(window=1), mask._replace(allowed=allowed)):
        plain = seqx.Mask(other.causal, other.window, other.allowed)
        assert other.dense(queries, keys).equal(plain.dense(queries, keys))
    assert mask.dense(keys, keys).equal(seqx.Mask(causal=True).dense(keys, keys))


def test_allowed_pairs_restrict_a_mask() -> None:
    layout = layout_of(4, 2)
    allowed = torch.eye(4, dtype=torch.bool)[None]
    expected = torch.eye(4, dtype=torch.bool) & layout.keep[:, None, :]
    assert seqx.Mask(causal=True, allowed=allowed).dense(layout, layout)[:, 0].equal(expected)
    additive = seqx.Mask(allowed=allowed).additive(layout, layout, torch.bfloat16)
    assert additive.dtype == torch.bfloat16
    assert (additive[:, 0] == 0).equal(expected)


def test_restricted_attention_shares_its_window_between_layers() -> None:
    def attention(d_model: int) -> seqx.Attention:
        return RestrictedAttention(d_model, heads=HEADS, window=3)

    torch.manual_seed(0)
    encoder, layout = TransformerEncoder(D, layers=2, attention=attention).eval(), layout_of(6, 2)
    x = embeddings(2, 6)
    mask = seqx.Mask().share(layout, layout)
    positioned = seqx.Positioned.unordered(layout)
    for layer in encoder.layers:
        layer.attention.prepare(x, positioned, layout, mask)
    assert mask.shared is not None
    assert {(name, window) for name, _, window in mask.shared.forms} == {
        ("dense", 3),
        (("additive", torch.float32), 3),
    }


def test_prepared_rotary_angles_are_computed_once_and_for_their_positions_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    positions = torch.arange(6)[None]
    x = torch.randn(1, HEADS, 6, 8)
    rotary = Rotary(D, HEADS)
    prepared = Combined(D, HEADS, encodings=[Rotary, Shaw]).prepare(positions)
    assert prepared.key(x, positions).equal(rotary.key(x, positions))
    assert prepared.key(x, positions + 3).equal(rotary.key(x, positions + 3))
    assert prepared.query(x[..., :5], positions).equal(rotary.query(x[..., :5], positions))
    monkeypatch.setattr(torch, "arange", None)
    prepared.key(x, positions)
