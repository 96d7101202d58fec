"""The format of Hugging Face's transformers."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import seqx
from seqx_transformer.export import common
from seqx_transformer.export.card import write_card
from seqx_transformer.export.scores import check_scores

MAX_POSITIONS = 1024
"""The number of positions that an exported model has, unless the model itself has a limit."""

EARLY_STOPPING = {"bound": "never", "estimate": False, "full": True}
"""The setting of transformers for each `stop` of a search."""

_CODE = """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSeq2SeqLM.from_pretrained(folder)
sentences = ["This is a test."]
inputs = tokenizer(sentences, return_tensors="pt", padding=True)
for output in model.generate(**inputs):
    print(tokenizer.decode(output, skip_special_tokens=True))
"""


class HuggingFace(seqx.Exporter):
    """A folder that `AutoModelForSeq2SeqLM` and `AutoTokenizer` of transformers 5 load.

    The architecture is Marian for post-norm and Pegasus for pre-norm. The export fails if scores that
    transformers computes differ from those of seqx.
    """

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        """Return the settings that Marian and Pegasus cannot express."""
        seqx.import_extra("transformers", "huggingface")
        if problems := [*common.unspecified(model)]:
            return problems
        spec, text = seqx.describe(model.model), seqx.describe(model.task)
        if spec.encoder is None:
            return ["model.type: only encoder-decoder models can be exported to this format"]
        problems = [
            f"{setting}.{problem}"
            for setting, stack in common.stacks(spec).items()
            for problem in _stack_problems(stack, spec.d_model)
        ]
        orders = {spec.encoder.norm_order, spec.decoder.norm_order}
        if len(orders) > 1:
            problems.append("model.decoder.norm_order: set that of the encoder")
        if orders == {"pre"} and not (spec.source.weight is spec.target.weight is spec.projection):
            problems.append("model.tie_embeddings: Pegasus, which has pre-norm, ties all; train with all")
        if spec.source.scale != spec.target.scale:
            problems.append("model.scale_embeddings: Marian scales both embeddings or none")
        if spec.encoder.layers[0].feedforward.activation != spec.decoder.layers[0].feedforward.activation:
            problems.append("model.decoder.feedforward: set the activation of the encoder")
        for side, names in (("source", text.source_normalizers), ("target", text.target_normalizers)):
            if names:
                problems.append(
                    f"task.{side}_normalizers: the tokenizer of this format has no {', '.join(names)}"
                )
        return common.distinct_problems(problems)

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        """Write the model, compare its scores with those of seqx, and write the model card."""
        spec, text = seqx.describe(model.model), seqx.describe(model.task)
        config = _config(spec)
        _write_json(folder / "config.json", config)
        save_file(
            dict(_weights(spec, config["max_position_embeddings"])),
            str(folder / "model.safetensors"),
            metadata={"format": "pt"},
        )
        generation = _generation(_specified(model.search), config)
        _write_json(folder / "generation_config.json", generation)
        _write_tokenizer(text, folder, config["max_position_embeddings"])
        check_scores(model.model, text, lambda *sides: huggingface_scores(folder, *sides), "transformers")
        packages = ["transformers", "torch", "sentencepiece"]
        write_card(model, folder, "Hugging Face transformers", packages, _CODE, _notes_on_search(model))


def _stack_problems(stack: seqx.StackSpec, d_model: int) -> Iterator[str]:
    """Yield the settings of a stack that Marian and Pegasus cannot express."""
    if stack.residual_scale != 1:
        yield "residual_scale: Marian has no factor in the residual sum; train with residual_scale: 1"
    if stack.positions.kind != "sinusoidal":
        yield f"positions: Marian has sinusoidal positions, not {stack.positions.kind}; train with sinusoidal"
    elif stack.positions.base != 10_000:
        yield "positions.base: Marian has base 10000"
    if any(norm.kind != "layernorm" for norm in common.norms(stack)):
        yield "norm: Marian has layer normalisation; train with layernorm"
    elif any(norm.eps != 1e-5 for norm in common.norms(stack)):
        yield "norm.eps: Marian has eps 1e-5"
    if any(layer.feedforward.gate is not None for layer in stack.layers):
        yield "feedforward: Marian has no gate; train with relu, gelu or silu"
    yield from _attention_problems(stack, d_model)


def _attention_problems(stack: seqx.StackSpec, d_model: int) -> Iterator[str]:
    if len({attention.heads for _, attention in common.attentions(stack)}) > 1:
        yield "attention: Marian has one number of heads for all layers; set the same number everywhere"
    for setting, attention in common.attentions(stack):
        d_v = attention.value.weight.size(0) // attention.groups
        if {attention.query.weight.size(0), d_v * attention.heads} != {d_model}:
            yield f"{setting}: Marian has heads of the width d_model / heads; leave out d_k and d_v"


def _config(model: seqx.ModelSpec) -> dict[str, Any]:
    """Return the content of `config.json`."""
    assert model.encoder is not None, "`problems` has checked it"
    encoder, decoder = model.encoder.layers, model.decoder.layers
    is_pre_norm = model.encoder.norm_order == "pre"
    limits = [stack.limit or MAX_POSITIONS for stack in (model.encoder, model.decoder)]
    config = {
        "model_type": "pegasus" if is_pre_norm else "marian",
        "architectures": ["PegasusForConditionalGeneration" if is_pre_norm else "MarianMTModel"],
        "dtype": "float32",
        "d_model": model.d_model,
        "encoder_layers": len(encoder),
        "decoder_layers": len(decoder),
        "encoder_attention_heads": encoder[0].attention.heads,
        "decoder_attention_heads": decoder[0].attention.heads,
        "encoder_ffn_dim": encoder[0].feedforward.inner.weight.size(0),
        "decoder_ffn_dim": decoder[0].feedforward.inner.weight.size(0),
        "activation_function": encoder[0].feedforward.activation,
        "scale_embedding": model.source.scale != 1,
        "max_position_embeddings": min(limits),
        "vocab_size": model.source.weight.size(0),
        "tie_word_embeddings": model.projection is model.target.weight,
        "pad_token_id": seqx.PAD,
        "bos_token_id": seqx.BOS,
        "eos_token_id": seqx.EOS,
        "decoder_start_token_id": seqx.BOS,
        "forced_eos_token_id": seqx.EOS,
        "is_encoder_decoder": True,
    }
    if not is_pre_norm:
        config["decoder_vocab_size"] = model.target.weight.size(0)
        config["share_encoder_decoder_embeddings"] = model.source.weight is model.target.weight
    return config


def _weights(model: seqx.ModelSpec, positions: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights by their names in Marian and Pegasus.

    The features of all vectors of width d_model are reordered. In the positional encoding of seqx, sines and
    cosines alternate; in that of Marian, all cosines follow all sines.

    Args:
        model: the description of the model
        positions: the number of positions
    """
    assert model.encoder is not None, "`problems` has checked it"
    order = torch.cat([torch.arange(0, model.d_model, 2), torch.arange(1, model.d_model, 2)])

    def ordered(tensor: Tensor, dim: int) -> Tensor:
        return tensor.detach().float().index_select(dim, order).contiguous()

    if model.source.weight is model.target.weight:
        yield "model.shared.weight", ordered(model.target.weight, 1)
    else:
        yield "model.encoder.embed_tokens.weight", ordered(model.source.weight, 1)
        yield "model.decoder.embed_tokens.weight", ordered(model.target.weight, 1)
    if model.projection is not model.target.weight:
        yield "lm_head.weight", ordered(model.projection, 1)
    bias = torch.zeros(len(model.projection)) if model.projection_bias is None else model.projection_bias
    yield "final_logits_bias", bias.detach().float()[None].contiguous()
    for side, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        if stack.norm_order == "pre" and stack.positions.vectors is not None:
            # transformers would compute the positions, but warn that weights of Pegasus are missing.
            yield f"model.{side}.embed_positions.weight", ordered(stack.positions.vectors(positions), 1)
        if stack.norm is not None:
            yield from _norm(f"model.{side}.layer_norm", stack.norm, ordered)
        for i, layer in enumerate(stack.layers):
            name = f"model.{side}.layers.{i}"
            yield from _attention(f"{name}.self_attn", layer.attention, ordered)
            yield from _norm(f"{name}.self_attn_layer_norm", layer.attention_norm, ordered)
            if layer.cross_attention is not None and layer.cross_norm is not None:
                yield from _attention(f"{name}.encoder_attn", layer.cross_attention, ordered)
                yield from _norm(f"{name}.encoder_attn_layer_norm", layer.cross_norm, ordered)
            yield from _linear(
                f"{name}.fc1", ordered(layer.feedforward.inner.weight, 1), layer.feedforward.inner.bias
            )
            yield from _outer(f"{name}.fc2", layer.feedforward.outer, ordered)
            yield from _norm(f"{name}.final_layer_norm", layer.feedforward_norm, ordered)


def _attention(name: str, attention: seqx.AttentionSpec, ordered: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of an attention, whose query, key and value read vectors of width d_model."""
    inputs = {
        "q_proj": common.scaled(attention.query, common.scale_of_queries(attention)),
        "k_proj": common.ungrouped(attention.key, attention),
        "v_proj": common.ungrouped(attention.value, attention),
    }
    for part, linear in inputs.items():
        yield from _linear(f"{name}.{part}", ordered(linear.weight, 1), linear.bias)
    yield from _outer(f"{name}.out_proj", attention.output, ordered)


def _outer(name: str, linear: seqx.LinearSpec, ordered: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a linear map to vectors of width d_model."""
    yield from _linear(
        name, ordered(linear.weight, 0), None if linear.bias is None else ordered(linear.bias, 0)
    )


def _linear(name: str, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a linear map; Marian always has a bias."""
    yield f"{name}.weight", weight.detach().float().contiguous()
    yield f"{name}.bias", torch.zeros(len(weight)) if bias is None else bias.detach().float().contiguous()


def _norm(name: str, norm: seqx.NormSpec, ordered: Any) -> Iterator[tuple[str, Tensor]]:
    assert norm.bias is not None, "layer normalisation has a bias"
    yield f"{name}.weight", ordered(norm.weight, 0)
    yield f"{name}.bias", ordered(norm.bias, 0)


def _specified(search: seqx.Search | None) -> seqx.SearchSpec | None:
    """Return the description of a search; None if transformers does not have it."""
    try:
        return None if search is None else seqx.describe(search)
    except seqx.UnspecifiedError:
        return None


def _notes_on_search(model: seqx.TrainedModel) -> Iterator[str]:
    """Yield notes about a search that `generation_config.json` does not have, or not entirely."""
    if model.search is None:
        return
    if _specified(model.search) is None:
        yield (
            "`generation_config.json` has greedy search, because it cannot express the search of the recipe, "
            f"{type(model.search).__name__}."
        )
    elif getattr(model.search, "processors", None):
        yield "`generation_config.json` has no score processors; the recipe has some (`search.processors`)."


def _generation(search: seqx.SearchSpec | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `generation_config.json`, with the search of the recipe.

    transformers divides log-probabilities by length^penalty. If the search of seqx divides them by
    ((5 + length) / 6)^alpha, the exponent is chosen so that at 20 tokens both divisors grow with the length
    at the same relative rate.
    """
    ranking: dict[str, Any] = {}
    if search is not None and search.size > 1:  # with one beam, transformers warns of settings for several
        penalty = search.alpha if search.penalty == "length" else round(search.alpha * 20 / 25, 3)
        ranking = {"early_stopping": EARLY_STOPPING[search.stop], "length_penalty": penalty}
    length = min(512, config["max_position_embeddings"])
    if search is not None and search.ratio == 0:  # transformers counts BOS and EOS
        length = min(length, search.extra + 2)
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_eos_token_id")
    return {
        "num_beams": 1 if search is None else search.size,
        **ranking,
        "max_length": length,
        "suppress_tokens": [seqx.PAD, seqx.BOS],
        **{name: config[name] for name in names},
    }


def _write_tokenizer(text: seqx.TextSpec, folder: Path, max_length: int) -> None:
    """Write the files of a `MarianTokenizer`."""
    common.write_sentencepiece(text, folder)
    is_shared = text.source.symbols == text.target.symbols
    _write_json(folder / "vocab.json", {symbol: i for i, symbol in enumerate(text.source.symbols)})
    if not is_shared:
        _write_json(folder / "target_vocab.json", {symbol: i for i, symbol in enumerate(text.target.symbols)})
    tokenizer = {
        "tokenizer_class": "MarianTokenizer",
        "separate_vocabs": not is_shared,
        "model_max_length": max_length,
        "eos_token": common.EOS,
        "unk_token": common.UNK,
        "pad_token": common.PAD,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", tokenizer)


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def huggingface_scores(folder: Path, sources: list[list[int]], targets: list[list[int]]) -> list[float]:
    """Return the log-probability of each target with EOS, computed by transformers.

    Args:
        folder: the exported model
        sources: the ids of each source, without EOS
        targets: the ids of each target, without EOS
    """
    transformers = seqx.import_extra("transformers", "huggingface")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(str(folder)).eval()
    scores = []
    for source, target in zip(sources, targets, strict=True):
        ids = torch.tensor([[*target, seqx.EOS]])
        shifted = torch.tensor([[seqx.BOS, *target]])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*source, seqx.EOS]]), decoder_input_ids=shifted).logits
        logprobs = logits.double().log_softmax(-1).gather(-1, ids[..., None])
        scores.append(math.fsum(logprobs.flatten().tolist()))
    return scores
