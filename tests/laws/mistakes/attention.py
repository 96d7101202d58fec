"""Attentions with typical mistakes. Each changes one step of `DotProduct`, which is correct.

Letters in shapes: B sentences, T queries, S keys, D = d_model.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqx
from tests.laws.mistakes.mistake import Mistake


class DotProduct(seqx.Attention):
    """Scaled dot-product attention with one head."""

    masked = torch.finfo(torch.float32).min / 2

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.query, self.key, self.value = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        k, v = self.key(keys)[:, None], self.value(values)[:, None]  # [B, 1, S, D]
        return seqx.KeyValue(positioned.key(k), v, positioned.layout)

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        weights = self.softmax(self.scores(queries, positioned, memory, mask))
        outputs, added = weights @ memory.values, positioned.values(weights, memory)
        return (outputs if added is None else outputs + added)[:, 0]  # [B, T, D]

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        return self.scores(queries, positioned, memory, mask).softmax(-1)

    def scores(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        q = positioned.query(self.query(queries)[:, None])
        scores = q * self.scale(memory) @ memory.keys.mT  # [B, 1, T, S]
        bias = self.bias(queries, q, positioned, memory)
        visible = self.visible(mask, positioned.layout, memory.layout)
        return (scores if bias is None else scores + bias).masked_fill(~visible, self.masked)

    def scale(self, memory: seqx.KeyValue) -> float:
        return float(self.d_model**-0.5)

    def bias(
        self, queries: Tensor, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue
    ) -> Tensor | None:
        return positioned.bias(q * self.scale(memory), memory)

    def visible(self, mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> Tensor:
        return mask.dense(queries, keys)

    def softmax(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)


class OnePositionAhead(DotProduct):
    """Shows each query one later key."""

    def visible(self, mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> Tensor:
        return mask.dense(queries._replace(positions=queries.positions + 1), keys)


class ForgottenMask(DotProduct):
    """Shows padding and later keys."""

    def visible(self, mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> Tensor:
        return torch.ones_like(mask.dense(queries, keys))


class ForgottenPairs(DotProduct):
    """Shows each query all earlier keys, also those that the mask forbids."""

    def visible(self, mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> Tensor:
        return seqx.Mask(causal=mask.causal, window=mask.window).dense(queries, keys)


class SmallMaskValue(DotProduct):
    """Masks with -10."""

    masked = -10.0


class LargerMaskValue(DotProduct):
    """Masks with -1000, which large scores outweigh."""

    masked = -1000.0


class CentredOverTime(DotProduct):
    """Subtracts the mean over time from the values."""

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        return super().project(keys, values - values.mean(1, keepdim=True), positioned)


class SoftmaxOverQueries(DotProduct):
    """Normalises the scores over the queries."""

    def softmax(self, scores: Tensor) -> Tensor:
        return scores.softmax(-2)


class KeysNormalisedOverTime(DotProduct):
    """Divides keys by their norm over time."""

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        memory = super().project(keys, values, positioned)
        return memory._replace(keys=F.normalize(memory.keys, dim=2))


class ScaleOfLength(DotProduct):
    """Divides scores by the square root of the number of keys."""

    def scale(self, memory: seqx.KeyValue) -> float:
        return float(memory.keys.size(2) ** -0.5)


class BiasOfUnscaledQueries(DotProduct):
    """Passes `bias` the queries before they are scaled."""

    def bias(
        self, queries: Tensor, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue
    ) -> Tensor | None:
        return positioned.bias(q, memory)


class BiasOfInputs(DotProduct):
    """Passes `bias` the inputs instead of the projected queries."""

    def bias(
        self, queries: Tensor, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue
    ) -> Tensor | None:
        return positioned.bias(queries[:, None], memory)


class BiasOfPositionZero(DotProduct):
    """Passes `bias` position 0 for all queries."""

    def bias(
        self, queries: Tensor, q: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue
    ) -> Tensor | None:
        of_keys = memory.layout.positions
        return positioned.encoding.bias(
            q * self.scale(memory), memory.keys, of_keys[:, -q.size(2) :] * 0, of_keys
        )


class MaskOnTheCpu(DotProduct):
    """Compares indices that are always on the CPU."""

    def visible(self, mask: seqx.Mask, queries: seqx.Layout, keys: seqx.Layout) -> Tensor:
        return super().visible(mask, queries, keys) & (torch.arange(keys.keep.size(1)) >= 0)


class DropoutLeftOn(DotProduct):
    """Drops weights in evaluation mode, too."""

    def softmax(self, scores: Tensor) -> Tensor:
        return F.dropout(scores.softmax(-1), 0.2)


class IgnoredValues(DotProduct):
    """Gathers the keys."""

    def project(self, keys: Tensor, values: Tensor, positioned: seqx.Positioned) -> seqx.KeyValue:
        return super().project(keys, keys, positioned)


class OtherWeights(DotProduct):
    """Returns weights without the positional bias."""

    def weights(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        return super().weights(queries, seqx.Positioned.unordered(positioned.layout), memory, mask)


class ChangedQueries(DotProduct):
    """Scales the queries in place."""

    def forward(
        self, queries: Tensor, positioned: seqx.Positioned, memory: seqx.KeyValue, mask: seqx.Mask
    ) -> Tensor:
        if not queries.requires_grad:
            queries *= 2
        return super().forward(queries, positioned, memory, mask)


def mistake(component: type, description: str, law: str, message: str) -> Mistake:
    """Return a mistake of an attention."""
    return Mistake(description, seqx.Attention, component, law, message)


LATER, PADDING = "outputs_do_not_depend_on_later_tokens", "padded_keys_do_not_change_outputs"
BIAS = "bias_gets_the_queries_and_keys_of_the_scores"

MISTAKES = [
    mistake(
        OnePositionAhead,
        "a causal mask that shows one later token",
        LATER,
        r"position 2 .* \[0, 1, 2, 3\], .*mask\.dense",
    ),
    mistake(ForgottenMask, "no mask", PADDING, r"forward: .* padding\. Mask the scores with `mask\.dense"),
    mistake(
        ForgottenPairs,
        "a mask that is only causal",
        "forbidden_pairs_do_not_change_outputs",
        r"forward: .* `mask\.allowed` forbids",
    ),
    mistake(SmallMaskValue, "a mask value of -10", PADDING, r"forward: .* large negative number .*, not -10"),
    mistake(
        LargerMaskValue,
        "a mask value of -1000",
        LATER,
        r"a scale of the inputs of 100\. forward: .* large negative number",
    ),
    mistake(
        CentredOverTime,
        "a mean over time",
        LATER,
        r"positions \[0, 1, 2, 3, 4, 5\].* project: .* without means .* over time",
    ),
    mistake(
        SoftmaxOverQueries,
        "a softmax over the queries",
        "queries_do_not_influence_each_other",
        r"forward: .* over the keys \(`dim=-1`, not `dim=-2`\)",
    ),
    mistake(
        KeysNormalisedOverTime,
        "keys that are normalised over time",
        "incremental_outputs_equal_parallel_outputs",
        r"token 1 .* project: .* normalise over features",
    ),
    mistake(
        ScaleOfLength,
        "scores that are scaled by the number of keys",
        "incremental_outputs_equal_parallel_outputs",
        r"forward: it uses the number of keys",
    ),
    mistake(
        BiasOfUnscaledQueries,
        "`positioned.bias` with queries that are not scaled",
        BIAS,
        r"bias gets other queries .* division by the scale",
    ),
    mistake(
        BiasOfInputs,
        "`positioned.bias` with queries that are not projected",
        BIAS,
        r"bias gets other queries .* after `positioned\.query`",
    ),
    mistake(
        BiasOfPositionZero,
        "`bias` with the positions of other queries",
        BIAS,
        r"bias gets other positions than those of the queries",
    ),
    mistake(
        MaskOnTheCpu,
        "a tensor that is created without `device`",
        "tensors_are_on_the_device_of_the_inputs",
        r"attention\.py:\d+: `torch\.arange` creates a tensor on the CPU, .* `device=x\.device`",
    ),
    mistake(
        DropoutLeftOn,
        "dropout in evaluation mode",
        "outputs_are_reproducible",
        r"DropoutLeftOn: .* dropout without `self\.training`",
    ),
    mistake(
        IgnoredValues,
        "a weighted sum of keys instead of values",
        "values_are_gathered",
        r"project: .*, not `keys`",
    ),
    mistake(
        OtherWeights,
        "`weights` without the positional bias",
        "weights_are_those_of_forward",
        r"weights: .* same mask and `positioned\.bias`",
    ),
    mistake(
        ChangedQueries,
        "queries that are changed in place",
        "arguments_are_not_changed",
        r"ChangedQueries changes a tensor of shape \[4, 6, 16\]",
    ),
]
