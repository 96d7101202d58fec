"""Checks of models, and files that several exporters write."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import seqx

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"


def unspecified(model: seqx.TrainedModel) -> Iterator[str]:
    """Yield a problem for the model and for the task, if other programs' formats cannot express it."""
    for name, component in (("model", model.model), ("task", model.task)):
        try:
            seqx.describe(component, name)
        except seqx.UnspecifiedError as error:
            yield f"{'.'.join(error.setting)}: {error.name} cannot be expressed in other programs' formats"


def stacks(model: seqx.ModelSpec) -> dict[str, seqx.StackSpec]:
    """Return the stacks of a model by their settings, such as `model.encoder`."""
    stacks = {"model.encoder": model.encoder, "model.decoder": model.decoder}
    return {setting: stack for setting, stack in stacks.items() if stack is not None}


def attentions(stack: seqx.StackSpec) -> Iterator[tuple[str, seqx.AttentionSpec]]:
    """Yield the attentions of a stack with their settings."""
    for layer in stack.layers:
        yield "attention", layer.attention
        if layer.cross_attention is not None:
            yield "cross_attention", layer.cross_attention


def norms(stack: seqx.StackSpec) -> Iterator[seqx.NormSpec]:
    """Yield the norms of a stack."""
    for layer in stack.layers:
        yield from (layer.attention_norm, layer.feedforward_norm)
        if layer.cross_norm is not None:
            yield layer.cross_norm
    if stack.norm is not None:
        yield stack.norm


def distinct_problems(problems: Iterable[str]) -> list[str]:
    """Return the problems in their order, each once: several layers often have the same problem."""
    return [*dict.fromkeys(problems)]


def scale_of_queries(attention: seqx.AttentionSpec) -> float:
    """Return the factor for the queries in a program that divides scores by sqrt(d_k).

    With this factor, the program computes the scores that the model computes with its own scale.
    """
    width: float = attention.query.weight.size(0) // attention.heads
    return attention.scale * width**0.5


def scaled(linear: seqx.LinearSpec, scale: float) -> seqx.LinearSpec:
    """Return a linear map whose outputs are multiplied by a factor."""
    if scale == 1:
        return linear
    return seqx.LinearSpec(
        weight=linear.weight * scale, bias=None if linear.bias is None else linear.bias * scale
    )


def ungrouped(linear: seqx.LinearSpec, attention: seqx.AttentionSpec) -> seqx.LinearSpec:
    """Return the linear map to keys or values, repeated so that each head of the queries has its own."""
    repeats = attention.heads // attention.groups
    if repeats == 1:
        return linear

    def repeat(tensor: Tensor) -> Tensor:
        return torch.cat(
            [each.repeat(repeats, *[1] * (each.dim() - 1)) for each in tensor.chunk(attention.groups)]
        )

    return seqx.LinearSpec(
        weight=repeat(linear.weight), bias=None if linear.bias is None else repeat(linear.bias)
    )


def write_sentencepiece(text: seqx.TextSpec, folder: Path) -> None:
    """Write the SentencePiece models of source and target."""
    (folder / "source.spm").write_bytes(text.source.sentencepiece)
    (folder / "target.spm").write_bytes(text.target.sentencepiece)


def language_code(text: seqx.TextSpec) -> str:
    """Return Python code that begins a list of source symbols with a language such as >>fra<<.

    It is empty if the vocabulary has no language. SentencePiece would split such a symbol, because its model
    does not have it.
    """
    import sentencepiece  # noqa: PLC0415

    model = sentencepiece.SentencePieceProcessor(model_proto=text.source.sentencepiece)
    for symbol in text.source.symbols:
        if re.fullmatch(r">>.*<<", symbol, re.DOTALL) and model.piece_to_id(symbol) == model.unk_id():
            return f"{symbol!r}, "
    return ""
