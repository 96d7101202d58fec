"""Hugging Face's Marian models (transformers)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel

from benchmarks.peers import trained_weights
from benchmarks.peers.adapters.pytorch import loop
from benchmarks.peers.sizes import BOS, DROPOUT, EOS, PAD, Size
from benchmarks.peers.subwords import Subwords
from benchmarks.peers.trained_weights import TrainedWeights
from benchmarks.peers.worker import Decode, Update

BATCH = 64
"""Sentences that are decoded together; longer inputs are sorted by length and split."""

POSITIONS = 1024


def versions() -> Mapping[str, str]:
    """Return the versions of transformers and torch."""
    return {"transformers": transformers.__version__, "torch": torch.__version__}


def config(d_model: int, layers: tuple[int, int], heads: int, width: int, **settings: Any) -> Any:
    """Return the configuration of a Marian model that computes what seqx's Transformer computes."""
    return MarianConfig(
        d_model=d_model,
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=width,
        decoder_ffn_dim=width,
        activation_function="relu",
        max_position_embeddings=POSITIONS,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        forced_eos_token_id=None,
        decoder_start_token_id=BOS,
        **settings,
    )


def training(size: Size, vocabulary: int, threads: int) -> Update:
    """Return a training loop around a Marian model with random weights."""
    torch.manual_seed(1)
    sizes = (size.d_model, (size.layers, size.layers), size.heads, size.width)
    settings = config(*sizes, vocab_size=vocabulary, dropout=DROPOUT, scale_embedding=True)
    model = MarianMTModel(settings)

    def logits(source: Tensor, inputs: Tensor) -> Tensor:
        return model(input_ids=source, attention_mask=source != PAD, decoder_input_ids=inputs).logits

    return loop(model, logits, threads)


def converted(weights: TrainedWeights) -> Any:
    """Return a Marian model with the weights of a trained model of seqx."""
    width = len(weights.arrays["encoder.layers.0.feedforward.inner.weight"])
    tied = weights.source is weights.target
    model = MarianMTModel(
        config(
            weights.target.shape[1],
            weights.layers,
            weights.heads,
            width,
            vocab_size=len(weights.source),
            decoder_vocab_size=len(weights.target),
            scale_embedding=weights.scaled,
            share_encoder_decoder_embeddings=tied,
            tie_word_embeddings=weights.projection is weights.target,
        )
    ).eval()
    encoder, decoder = model.model.encoder, model.model.decoder
    _copy(encoder.embed_tokens.weight, weights.source)
    _copy(decoder.embed_tokens.weight, weights.target)
    _copy(model.lm_head.weight, weights.projection)
    model.final_logits_bias.zero_()
    for side, stack in (("encoder", encoder), ("decoder", decoder)):
        _copy(stack.embed_positions.weight, weights.positions(POSITIONS))
        for i, layer in enumerate(stack.layers):
            _copy_layer(weights, f"{side}.layers.{i}", layer)
    return model


def _copy_layer(weights: TrainedWeights, prefix: str, layer: Any) -> None:
    """Copy a layer of encoder or decoder."""
    linear = {layer.fc1: "feedforward.inner", layer.fc2: "feedforward.outer"}
    norms = {layer.self_attn_layer_norm: "attended.norm", layer.final_layer_norm: "transformed.norm"}
    attentions = {"attention": layer.self_attn}
    if hasattr(layer, "encoder_attn"):
        attentions["cross_attention"] = layer.encoder_attn
        norms[layer.encoder_attn_layer_norm] = "crossed.norm"
    for name, attention in attentions.items():
        parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
        linear |= {getattr(attention, theirs): f"{name}.{ours}" for ours, theirs in parts.items()}
    for module, name in linear.items():
        weight, bias = weights.linear(f"{prefix}.{name}")
        _copy(module.weight, weight)
        _copy(module.bias, bias)
    for module, name in norms.items():
        _copy(module.weight, weights.arrays[f"{prefix}.{name}.weight"])
        _copy(module.bias, weights.arrays[f"{prefix}.{name}.bias"])


def _copy(parameter: nn.Parameter, values: Any) -> None:
    parameter.data.copy_(torch.from_numpy(values))


def logprobs(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the log-probability of each target, EOS included, given its source."""
    weights = trained_weights.read(folder)
    model, subwords = converted(weights), Subwords(weights.tokenizer)
    values = []
    for source, target in zip(*(subwords.encode(side) for side in zip(*pairs, strict=True)), strict=True):
        inputs = torch.tensor([[BOS, *target[:-1]]])
        with torch.inference_mode():
            outputs = model(input_ids=torch.tensor([source]), decoder_input_ids=inputs).logits[0]
        values.append(float(outputs.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).sum()))
    return values


def decoding(folder: Path, *, beam: int, threads: int, extra: int) -> Decode:
    """Return a translator with `generate`; hypotheses are ranked by their log-probability."""
    torch.set_num_threads(threads)
    weights = trained_weights.read(folder)
    model = converted(weights)
    subwords = Subwords(weights.tokenizer)

    def batch(ids: Sequence[list[int]]) -> list[str]:
        rows = [torch.tensor(row) for row in ids]
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
        outputs = model.generate(
            source,
            attention_mask=(source != PAD).long(),
            num_beams=beam,
            length_penalty=0.0,
            max_new_tokens=source.size(1) + extra,
            do_sample=False,
        )
        return [subwords.decode(row) for row in outputs.tolist()]

    def translate(lines: Sequence[str]) -> list[str]:
        ids = subwords.encode(lines)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        answers: dict[int, str] = {}
        with torch.inference_mode():
            for first in range(0, len(order), BATCH):
                part = order[first : first + BATCH]
                answers |= zip(part, batch([ids[i] for i in part]), strict=True)
        return [answers[i] for i in range(len(ids))]

    return translate
