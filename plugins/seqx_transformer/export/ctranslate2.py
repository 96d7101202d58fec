"""The format of CTranslate2."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import seqx
from seqx_transformer.export import common
from seqx_transformer.export.card import write_card
from seqx_transformer.export.scores import check_scores

MAX_POSITIONS = 4608
"""The number of positions that an exported model has, unless the model itself has a limit."""

_ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "silu": "SWISH"}

_LOAD = """\
import ctranslate2
import sentencepiece

folder = "."  # this folder
source = sentencepiece.SentencePieceProcessor(f"{folder}/source.spm")
target = sentencepiece.SentencePieceProcessor(f"{folder}/target.spm")
"""

_TRANSLATE = """\
translator = ctranslate2.Translator(folder)
sentences = ["This is a test."]
tokens = [[%(begins)s*source.encode(sentence, out_type=str)] for sentence in sentences]
for result in translator.translate_batch(tokens, beam_size=4, length_penalty=0.6):
    print(target.decode(result.hypotheses[0]))
"""

_GENERATE = """\
generator = ctranslate2.Generator(folder)
texts = ["This is a test."]
tokens = [[%(begins)s*source.encode(text, out_type=str)%(ends)s] for text in texts]
for result in generator.generate_batch(tokens, beam_size=4, max_length=100, include_prompt_in_result=False):
    print(target.decode(result.sequences[0]))
"""


class CTranslate2(seqx.Exporter):
    """A folder that CTranslate2 loads, with vocabulary, SentencePiece models and a model card.

    An encoder-decoder model is loaded by `ctranslate2.Translator`, a decoder-only model by
    `ctranslate2.Generator`. The export fails if scores that CTranslate2 computes in fp32 differ from those of
    seqx.

    Args:
        quantization: number format of the stored weights; fp32 if left out
    """

    def __init__(
        self,
        *,
        quantization: Literal["int8", "int8_bfloat16", "int8_float16", "int16", "bfloat16", "float16"]
        | None = None,
    ) -> None:
        self.quantization = quantization

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        """Return the settings that CTranslate2 cannot express."""
        seqx.import_extra("ctranslate2", "ctranslate2")
        if problems := [*common.unspecified(model)]:
            return problems
        spec = seqx.describe(model.model)
        problems = [
            f"{setting}.{problem}"
            for setting, stack in common.stacks(spec).items()
            for problem in _stack_problems(stack)
        ]
        if len({norm.eps for stack in common.stacks(spec).values() for norm in common.norms(stack)}) > 1:
            problems.append("model: CTranslate2 has one eps for all norms; set the same eps everywhere")
        if spec.source.scale != spec.target.scale:
            problems.append("model.scale_embeddings: CTranslate2 scales both embeddings or none")
        return common.distinct_problems(problems)

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        """Write the model, compare its scores with those of seqx, and write the model card."""
        spec, text = seqx.describe(model.model), seqx.describe(model.task)
        single = spec.encoder is None
        with tempfile.TemporaryDirectory() as temporary:
            fp32 = folder if self.quantization is None else Path(temporary)
            save(spec, text, fp32)
            check_scores(
                model.model,
                text,
                lambda *sides: ctranslate2_scores(fp32, text, *sides, single=single),
                "CTranslate2",
            )
        if self.quantization is not None:
            save(spec, text, folder, self.quantization)
        common.write_sentencepiece(text, folder)
        begins, ends = (
            "".join(f'"{symbol}", ' for symbol in each) for each in (text.source_begins, text.source_ends)
        )
        language = common.language_code(text)
        code = (
            _LOAD + _TRANSLATE % {"begins": language}
            if spec.encoder is not None
            else _LOAD + _GENERATE % {"begins": begins + language, "ends": f", {ends}" if ends else ""}
        )
        write_card(model, folder, "CTranslate2", ["ctranslate2", "sentencepiece"], code)


def _stack_problems(stack: seqx.StackSpec) -> Iterator[str]:
    """Yield the settings of a stack that CTranslate2 cannot express."""
    if stack.residual_scale != 1:
        yield "residual_scale: CTranslate2 has no factor in the residual sum; train with residual_scale: 1"
    heads = {attention.heads for _, attention in common.attentions(stack)}
    if len(heads) > 1:
        yield "attention: CTranslate2 has one number of heads for all layers; set the same number everywhere"
    for setting, attention in common.attentions(stack):
        d_k = attention.query.weight.size(0) // attention.heads
        d_v = attention.value.weight.size(0) // attention.groups
        if d_k != d_v:
            yield f"{setting}.d_v: CTranslate2 has one width for queries, keys and values; set d_v: {d_k}"
        if stack.positions.kind == "rotary" and d_k % 2:
            yield f"{setting}.d_k: CTranslate2 rotates an even number of features; set an even d_k"


def save(model: seqx.ModelSpec, text: seqx.TextSpec, folder: Path, quantization: str | None = None) -> None:
    """Write a model in the format of CTranslate2."""
    specs = seqx.import_extra("ctranslate2.specs", "ctranslate2")
    decoder = _stack(
        specs.TransformerDecoderSpec, model.decoder, with_encoder_attention=model.encoder is not None
    )
    decoder.scale_embeddings = model.target.scale != 1
    decoder.embeddings.weight = _array(model.target.weight)
    _linear(decoder.projection, seqx.LinearSpec(weight=model.projection, bias=model.projection_bias))
    if model.encoder is None:
        spec = specs.TransformerDecoderModelSpec(decoder)
        spec.register_vocabulary([*text.target.symbols])
    else:
        encoder = _stack(specs.TransformerEncoderSpec, model.encoder)
        encoder.scale_embeddings = model.source.scale != 1
        encoder.embeddings[0].weight = _array(model.source.weight)
        spec = specs.TransformerSpec(encoder, decoder)
        spec.register_source_vocabulary([*text.source.symbols])
        spec.register_target_vocabulary([*text.target.symbols])
        spec.config.add_source_bos = common.BOS in text.source_begins
        spec.config.add_source_eos = common.EOS in text.source_ends
        spec.config.decoder_start_token = common.BOS
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = common.BOS, common.EOS, common.UNK
    spec.config.layer_norm_epsilon = next(common.norms(model.decoder)).eps
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def _stack(make: Any, stack: seqx.StackSpec, **settings: Any) -> Any:
    """Return CTranslate2's description of a stack."""
    first = stack.layers[0]
    width = first.attention.query.weight.size(0) // first.attention.heads
    rotary = stack.positions.kind == "rotary"
    activations = seqx.import_extra("ctranslate2.specs", "ctranslate2").common_spec.Activation
    spec = make(
        len(stack.layers),
        first.attention.heads,
        pre_norm=stack.norm_order == "pre",
        activation=activations[_ACTIVATIONS[first.feedforward.activation]],
        ffn_glu=first.feedforward.gate is not None,
        rms_norm=first.attention_norm.kind == "rmsnorm",
        head_dim=width,
        rotary_dim=width if rotary else None,
        rotary_base=stack.positions.base if rotary else 10_000,
        **settings,
    )
    if stack.positions.vectors is not None:
        spec.position_encodings.encodings = _array(stack.positions.vectors(stack.limit or MAX_POSITIONS))
    if stack.norm is not None:
        _norm(spec.layer_norm, stack.norm)
    for target, layer in zip(spec.layer, stack.layers, strict=True):
        _attention(target.self_attention, layer.attention, layer.attention_norm)
        if layer.cross_attention is not None and layer.cross_norm is not None:
            _attention(target.attention, layer.cross_attention, layer.cross_norm)
        _norm(target.ffn.layer_norm, layer.feedforward_norm)
        network = layer.feedforward
        if network.gate is not None:
            _linear(target.ffn.linear_0, network.gate)
            _linear(target.ffn.linear_0_noact, network.inner)
        else:
            _linear(target.ffn.linear_0, network.inner)
        _linear(target.ffn.linear_1, network.outer)
    return spec


def _attention(target: Any, attention: seqx.AttentionSpec, norm: seqx.NormSpec) -> None:
    """Fill in an attention.

    Self-attention has one map for queries, keys and values. Cross-attention has one map for queries and one
    for keys and values.
    """
    scale = common.scale_of_queries(attention)
    query, key, value = (
        common.scaled(attention.query, scale),
        common.ungrouped(attention.key, attention),
        common.ungrouped(attention.value, attention),
    )
    joined = [query, key, value] if len(target.linear) == 2 else [key, value]
    if len(target.linear) == 3:
        _linear(target.linear[0], query)
    _linear(target.linear[-2], _joined(joined))
    _linear(target.linear[-1], attention.output)
    _norm(target.layer_norm, norm)


def _joined(linears: list[seqx.LinearSpec]) -> seqx.LinearSpec:
    """Return one linear map that computes the concatenated outputs of several."""
    biases = [linear.bias for linear in linears if linear.bias is not None]
    return seqx.LinearSpec(
        weight=torch.cat([linear.weight.detach() for linear in linears]),
        bias=torch.cat([bias.detach() for bias in biases]) if biases else None,
    )


def _linear(target: Any, linear: seqx.LinearSpec) -> None:
    target.weight = _array(linear.weight)
    if linear.bias is not None:
        target.bias = _array(linear.bias)


def _norm(target: Any, norm: seqx.NormSpec) -> None:
    target.gamma = _array(norm.weight)
    if norm.bias is not None:
        target.beta = _array(norm.bias)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().float().contiguous().numpy()


def ctranslate2_scores(
    folder: Path, text: seqx.TextSpec, sources: list[list[int]], targets: list[list[int]], *, single: bool
) -> list[float]:
    """Return the log-probability of each target with EOS, computed by CTranslate2 in fp32.

    Args:
        folder: the exported model
        text: the vocabulary
        sources: the ids of each source, without EOS; ignored if `single` is true
        targets: the ids of each target, without EOS
        single: true if the model is decoder-only
    """
    package = seqx.import_extra("ctranslate2", "ctranslate2")
    tokens = [[text.target.symbols[i] for i in target] for target in targets]
    if single:
        generator = package.Generator(str(folder), compute_type="float32")
        results = generator.score_batch([[common.BOS, *row, common.EOS] for row in tokens])
    else:
        translator = package.Translator(str(folder), compute_type="float32")
        symbols = [[text.source.symbols[i] for i in source] for source in sources]
        results = translator.score_batch(symbols, tokens, max_input_length=0)
    return [sum(result.log_probs) for result in results]
