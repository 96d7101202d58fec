"""For each law of networks, a faulty network breaks this law and no other."""

import random
import unittest
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx.testing import laws_of
from seqx_models import EncoderDecoder, GeneratorEnsemble, StridedConvolution
from seqx_transformer import (
    HeadInputs,
    Learned,
    MultiHeadAttention,
    ReLU,
    TransformerDecoder,
    TransformerEncoder,
)


class Correct(nn.Module):
    """A network that obeys all laws except the one that `fault` names."""

    fault = ""
    has_changed = False

    def __init__(self) -> None:
        super().__init__()

    def add_fault(self) -> None:
        """Add the parameter, the buffer or the random factor of the fault."""
        self.unused = nn.Parameter(torch.ones(1)) if self.fault == "every_parameter_gets_a_gradient" else None
        if self.fault == "seed_determines_weights":
            self.register_buffer("unseeded", torch.tensor(random.random()))
        self.unsaved_factor = float(torch.rand(1)) + 1 if self.fault == "state_dict_round_trip" else 1.0

    def change_argument(self, x: Tensor, keep: Tensor) -> None:
        """Change padding, on which outputs do not depend, in the tensor of the caller."""
        if self.fault == "arguments_are_not_changed" and not self.has_changed:
            x[~keep] += 1
            type(self).has_changed = True  # the law restores the argument

    def apply_fault(self, x: Tensor) -> Tensor:
        """Return outputs with the fault, if it is one of outputs."""
        if self.fault == "bfloat16_agrees" and torch.is_autocast_enabled("cpu"):
            return x * 1.5
        if self.fault == "compiles" and x.sum().item() > 1e9:
            return x + 1
        if self.fault == "tensors_are_on_the_device_of_the_inputs":
            return x * torch.ones(1)
        if self.fault == "outputs_are_reproducible":
            return x * (1 + 1e-6 * torch.rand(()))
        if self.fault == "sentences_do_not_influence_each_other" and self.training:
            return x + x.mean(0, keepdim=True)
        return x * self.unsaved_factor


SMALL: dict[str, Any] = {"layers": 1, "attention": MultiHeadAttention, "feedforward": ReLU}


class CorrectEncoder(TransformerEncoder, Correct):
    """An encoder that obeys all laws except the one named by `fault`."""

    def __init__(self, d_model: int) -> None:
        TransformerEncoder.__init__(self, d_model, **SMALL)
        self.add_fault()

    @property
    def reads_packed_rows(self) -> bool:
        # An encoder that ignores padding would break the law of packed rows, too.
        return self.fault != "padding_does_not_change_outputs"

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        if self.fault == "padding_does_not_change_outputs":
            layout = seqx.Layout.of(torch.ones_like(layout.keep))
        if self.fault == "packed_rows_give_the_same_outputs":
            layout = layout._replace(segments=None)
        self.change_argument(inputs, layout.keep)
        return self.apply_fault(super().forward(inputs, layout))


def has_query(encoding: seqx.PositionalEncoding) -> bool:
    """Return true if an encoding changes queries."""
    return type(encoding).query is not seqx.PositionalEncoding.query


class WithoutValues(seqx.PositionalEncoding):
    """An encoding without its value term."""

    def __init__(self, encoding: seqx.PositionalEncoding) -> None:
        super().__init__(encoding.d_model, encoding.heads)
        self.encoding = encoding

    def query(self, q: Tensor, positions: Tensor) -> Tensor:
        return self.encoding.query(q, positions)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return self.encoding.bias(q, k, q_positions, k_positions)


class BiasOfHalfTheQueries(WithoutValues):
    """An encoding whose bias is computed with half of the queries."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return super().bias(q / 2, k, q_positions, k_positions)

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return self.encoding.values(weights, q_positions, k_positions)


class CorrectAttention(MultiHeadAttention, Correct):
    """An attention that obeys all laws except the one named by `fault`."""

    def __init__(self, d_model: int) -> None:
        MultiHeadAttention.__init__(self, d_model, heads=2)
        self.add_fault()

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        memory = super().project(keys, keys if self.fault == "values_are_gathered" else values, positioned)
        if self.fault == "incremental_outputs_equal_parallel_outputs":
            return memory._replace(
                keys=memory.keys * torch.arange(1, keys.size(1) + 1, device=keys.device)[:, None]
            )
        return memory

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        if self.fault == "shared_masks_do_not_change_outputs" and mask.shared is not None:
            mask = seqx.Mask()
        if self.fault == "forbidden_pairs_do_not_change_outputs":
            mask = mask._replace(allowed=None)
        if self.fault == "positions_are_used_or_rejected":
            positioned = positioned._replace(encoding=WithoutValues(positioned.encoding))
        if self.fault == "padded_keys_do_not_change_outputs":
            all_tokens = memory.layout._replace(keep=torch.ones_like(memory.layout.keep))
            memory = memory._replace(layout=all_tokens)
        if self.fault == "packed_rows_do_not_mix_segments":
            memory = memory._replace(layout=memory.layout._replace(segments=None))
        if self.fault == "bias_gets_the_queries_and_keys_of_the_scores":
            positioned = positioned._replace(encoding=BiasOfHalfTheQueries(positioned.encoding))
        self.change_argument(queries, positioned.layout.keep)
        outputs = super().forward(queries, positioned, memory, mask)
        if self.fault == "queries_do_not_influence_each_other" and queries.size(1) == 2:
            outputs = outputs * 1.1
        if self.fault == "outputs_do_not_depend_on_later_tokens" and mask.causal:
            outputs = outputs + 1e-9 * memory.keys.mean((1, 2, 3))[:, None, None]
        return self.apply_fault(outputs)

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        if self.fault == "bias_gets_the_queries_and_keys_of_the_scores":
            positioned = positioned._replace(encoding=BiasOfHalfTheQueries(positioned.encoding))
        # Only the law of this fault has an encoding with a bias and nothing else.
        if self.fault == "weights_are_those_of_forward" and not has_query(positioned.encoding):
            positioned = seqx.Positioned.unordered(positioned.layout)
        weights = super().weights(queries, positioned, memory, mask)
        return weights * 1.01 if self.fault == "weights_are_probabilities" else weights

    def check(self, encoding: seqx.PositionalEncoding | None) -> None:
        if self.fault != "positions_are_used_or_rejected":
            super().check(encoding)

    def attend(self, inputs: HeadInputs) -> Tensor:
        if self.fault == "outputs_without_visible_keys_are_finite":
            visible = inputs.mask.dense(inputs.positioned.layout, inputs.memory.layout)
            term = 0.0 if inputs.positional is None else inputs.positional
            inputs = inputs._replace(positional=torch.where(visible, term, float("-inf")))
        return super().attend(inputs)


class SelectableState(NamedTuple):
    """A state with its own implementation of selecting and forking rows."""

    inner: Any
    rows: int
    fault: str

    def select(self, index: Tensor) -> "SelectableState":
        if self.fault == "rows_of_a_state_can_be_reordered" and len(index) == 3:  # as in that law
            index = index.sort().values
        return SelectableState(seqx.rows(self.inner, index), len(index), self.fault)

    def fork(self, n: int) -> "SelectableState":
        index = torch.arange(self.rows)
        index = (
            index.repeat(n) if self.fault == "rows_of_a_state_can_be_forked" else index.repeat_interleave(n)
        )
        return SelectableState(seqx.rows(self.inner, index), n * self.rows, self.fault)


class CorrectDecoder(TransformerDecoder, Correct):
    """A decoder that obeys all laws except the one named by `fault`."""

    last: Tensor | None = None

    def __init__(self, d_model: int) -> None:
        TransformerDecoder.__init__(self, d_model, **SMALL)
        self.add_fault()

    @property
    def reads_packed_rows(self) -> bool:
        # A decoder that ignores the source or its padding would break the law of packed rows, too.
        return self.fault not in ("uses_source_is_correct", "padding_does_not_change_outputs")

    def read(self, inputs: Tensor, memory: seqx.Memory | None, layout: seqx.Layout) -> Tensor:
        if self.fault == "packed_rows_give_the_same_outputs":
            layout = layout._replace(segments=None)
        state = super().start(memory, len(inputs), None)
        return self.apply_fault(self._advance(inputs, state, layout)[0])

    def start(self, memory: seqx.Memory | None, batch: int, capacity: int | None) -> Any:
        if self.fault == "padding_does_not_change_outputs":
            assert memory is not None
            memory = memory._replace(layout=seqx.Layout.of(torch.ones_like(memory.layout.keep)))
        if self.fault == "uses_source_is_correct":
            assert memory is not None
            memory = memory._replace(
                states=torch.arange(16.0, device=memory.states.device).expand_as(memory.states)
            )
        return SelectableState(super().start(memory, batch, capacity), batch, self.fault)

    @property
    def has_slots(self) -> bool:
        """False, because the state is not that of the Transformer."""
        return False

    def forward(self, inputs: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        if keep is not None:
            self.change_argument(inputs, keep)
        outputs, after = super().forward(inputs, state.inner, keep)
        if self.fault == "states_do_not_influence_each_other":
            # The law advances a second state by the reversed vectors of the first one.
            outputs = outputs * (1.1 if self.last is not None and inputs.equal(self.last.flip(-1)) else 1.0)
            self.last = inputs
        if self.fault == "incremental_outputs_equal_parallel_outputs" and inputs.size(1) == 4:
            outputs = outputs * 1.1
        if self.fault == "outputs_do_not_depend_on_later_tokens":
            outputs = outputs + 1e-9 * inputs.mean()
        if self.fault == "sentences_continue_after_padding":
            after = after._replace(lengths=state.inner.lengths + inputs.size(1))
        return self.apply_fault(outputs), state._replace(inner=after)


class CorrectSlots(seqx.Slots):
    """Slots that wrap others, and obey all laws except the one named by `fault`."""

    def __init__(self, inner: seqx.Slots, fault: str) -> None:
        self.hypotheses = inner.hypotheses
        self.inner, self.fault = inner, fault
        self.occupied = inner.occupied
        self.filled = False

    def step(self, ids: Tensor) -> Tensor:
        logits = self.inner.step(ids)
        scaled = (
            self.fault == "slots_agree_with_advance"
            or (self.fault == "slots_do_not_influence_each_other" and len(self.occupied) == 1)
            or (self.fault == "released_slots_can_be_refilled" and self.filled)
        )
        return logits * 1.1 if scaled else logits

    def reorder(self, parents: Tensor) -> None:
        if self.fault == "hypotheses_of_a_slot_can_be_reordered":
            parents = parents[:1].expand_as(parents)
        self.inner.reorder(parents)

    def release(self, slots: Collection[int]) -> None:
        self.inner.release(slots)
        self.occupied = self.inner.occupied

    def fill(self, slots: Sequence[int], memory: seqx.State) -> None:
        self.inner.fill(slots, memory)
        self.occupied = self.inner.occupied
        self.filled = True


class CorrectModel(EncoderDecoder, Correct):
    """A model that obeys all laws except the one named by `fault`."""

    def __init__(self, vocab_sizes: dict[str, int]) -> None:
        stacks: Any = {"encoder": CorrectEncoder, "decoder": CorrectDecoder}
        EncoderDecoder.__init__(self, vocab_sizes, d_model=16, **stacks)
        self.add_fault()

    def encode(self, source: seqx.Column) -> seqx.Memory:
        if self.fault == "padding_does_not_change_outputs":
            source = seqx.Column(source.values, seqx.Layout.of(torch.ones_like(source.layout.keep)))
        return super().encode(source)

    def start(self, memory: seqx.Memory, capacity: int | None) -> Any:
        return super().start(memory, capacity)._replace(fault=self.fault)

    def advance(self, ids: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        outputs, after = super().advance(ids, state, keep)
        if self.fault == "incremental_outputs_equal_parallel_outputs" and ids.size(1) == 4:
            outputs = outputs * 1.1
        if self.fault == "sentences_continue_after_padding":
            lengths = state.inner.lengths + ids.size(1)
            after = after._replace(inner=after.inner._replace(lengths=lengths))
        return outputs, after

    def forward(self, batch: seqx.Batch) -> Tensor:
        target = batch.columns["target"]
        self.change_argument(target.values, target.layout.keep)
        outputs = super().forward(batch)
        if self.fault == "outputs_do_not_depend_on_later_tokens":
            outputs = outputs * (target.values * target.layout.keep).sum(1)[:, None, None]
        return outputs

    def head(self, outputs: Tensor) -> Tensor:
        logits = self.apply_fault(super().head(outputs))
        if (
            self.fault == "packed_weights_agree"
            and type((self.projection or self.target).weight) is not nn.Parameter
        ):
            logits = logits * 1.5
        return nn.functional.pad(logits, (0, int(self.fault == "predicts_each_target_token")), value=-9.0)

    def slots(self, memory: seqx.State, count: int, hypotheses: int, capacity: int | None) -> CorrectSlots:
        return CorrectSlots(super().slots(memory, count, hypotheses, capacity), self.fault)


class CorrectPositions(Learned, Correct):
    """A positional encoding that obeys all laws except the one named by `fault`."""

    def __init__(self, d_model: int, heads: int) -> None:
        Learned.__init__(self, d_model, heads)
        self.add_fault()

    def prepare(self, positions: Tensor) -> seqx.PositionalEncoding:
        if self.fault != "prepared_encoding_gives_the_same_results":
            return self
        prepared = CorrectPositions(self.d_model, self.heads)
        prepared.table = nn.Parameter(self.table.roll(int(positions[0, 0]), 0))
        return prepared

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.fault == "encoding_depends_on_positions_only":
            positions = positions - positions[:, :1]
        if self.fault == "each_sentence_has_its_own_positions":
            positions = positions[:1].expand_as(positions)
        return self.apply_fault(super().embed(x, positions))

    def check(self, d_k: int, d_v: int) -> None:
        if self.fault == "check_accepts_the_width_of_the_terms" and d_v != self.d_model // self.heads:
            raise ValueError("another width")

    def values(self, weights: Tensor, q_positions: Tensor, k_positions: Tensor) -> None:
        if self.fault == "arguments_are_not_changed" and not self.has_changed:
            weights.copy_(weights.flip(0))
            type(self).has_changed = True


class CorrectEnsemble(GeneratorEnsemble):
    """An ensemble that obeys all laws except the one named by `fault`."""

    fault = ""

    def forward(self, batch: seqx.Batch) -> Tensor:
        if self.fault == "every_model_contributes":
            outputs: Tensor = self.models[0](batch)
            return outputs
        return super().forward(batch)

    def advance(self, ids: Tensor, state: Any, keep: Tensor | None) -> tuple[Tensor, Any]:
        outputs, state = super().advance(ids, state, keep)
        return outputs * 2 if self.fault == "two_equal_models_predict_like_one" else outputs, state


class CorrectInputLayer(StridedConvolution, Correct):
    """An input layer that obeys all laws except the one named by `fault`."""

    def __init__(self, size: int, d_model: int) -> None:
        StridedConvolution.__init__(self, size, d_model)
        self.add_fault()

    def forward(self, source: seqx.Column) -> tuple[Tensor, seqx.Layout]:
        self.change_argument(source.values, source.layout.keep)
        embeddings, layout = super().forward(source)
        if self.fault == "padding_does_not_change_outputs":
            embeddings = embeddings - embeddings.mean(1, keepdim=True)
        if self.fault == "layout_describes_embeddings":
            layout = layout._replace(positions=2 * layout.positions)
        return self.apply_fault(embeddings), layout


CORRECT: dict[type, Any] = {
    seqx.InputLayer: CorrectInputLayer,
    seqx.Attention: CorrectAttention,
    seqx.Ensemble: CorrectEnsemble,
    seqx.Decoder: CorrectDecoder,
    seqx.Encoder: CorrectEncoder,
    seqx.Model: CorrectModel,
    seqx.PositionalEncoding: CorrectPositions,
}
FAULTS = [
    (interface, law.__name__)
    for interface, maker in CORRECT.items()
    for law in laws_of(interface, maker)
    if law.__name__ != "no_method_is_misspelt"  # mistakes/training.py breaks it
]


@pytest.mark.parametrize("interface", CORRECT, ids=lambda interface: interface.__name__)
def test_networks_without_fault_obey_their_laws(broken: Any, interface: type) -> None:
    # Compile only the model, which contains an encoder and a decoder, because compiling takes longer than all
    # other laws together.
    without = "compiles" if interface in (seqx.Encoder, seqx.Decoder) else ""
    assert not broken(interface, CORRECT[interface], without=without)


@pytest.mark.parametrize(("interface", "fault"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_faulty_network_breaks_only_its_law(broken: Any, interface: type, fault: str) -> None:
    doc = None if fault == "every_setting_is_documented" else "Broken."
    faulty = type("Faulty", (CORRECT[interface],), {"fault": fault, "__doc__": doc})
    assert broken(interface, faulty, without="" if fault == "compiles" else "compiles") == {fault}


class EncoderWithoutKernel(CorrectEncoder):
    """An encoder whose bfloat16 kernel does not exist on this CPU."""

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for it. Run workload with more")
        return super().forward(inputs, layout)


def test_missing_bf16_kernel_breaks_no_law(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.testing.network.has_bf16", lambda device: True)
    assert broken(seqx.Encoder, EncoderWithoutKernel, without="compiles") == {"bfloat16_agrees"}
    monkeypatch.setattr("seqx.testing.network.has_bf16", lambda device: False)
    with pytest.raises(unittest.SkipTest, match=r"no kernel on this cpu .* descriptor for it"):
        broken(seqx.Encoder, EncoderWithoutKernel)
