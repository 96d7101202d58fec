"""CTranslate2, which only decodes."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.specs import common_spec, transformer_spec

from benchmarks.peers import trained_weights
from benchmarks.peers.subwords import Subwords
from benchmarks.peers.trained_weights import TrainedWeights
from benchmarks.peers.worker import Decode

POSITIONS = 1024


def versions() -> Mapping[str, str]:
    """Return the version of CTranslate2."""
    return {"ctranslate2": ctranslate2.__version__}


def convert(weights: TrainedWeights, folder: Path, quantization: str | None) -> None:
    """Write a trained model of seqx in CTranslate2's format."""
    spec = transformer_spec.TransformerSpec.from_config(
        weights.layers, weights.heads, pre_norm=False, activation=common_spec.Activation.RELU
    )
    spec.encoder.embeddings[0].weight = weights.source
    spec.decoder.embeddings.weight = weights.target
    spec.decoder.projection.weight = weights.projection
    for side, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        stack.scale_embeddings = weights.scaled
        stack.position_encodings.encodings = weights.positions(POSITIONS)
        for i, layer in enumerate(stack.layer):
            prefix = f"{side}.layers.{i}"
            _attention(weights, f"{prefix}.attention", f"{prefix}.attended", layer.self_attention)
            if side == "decoder":
                _attention(weights, f"{prefix}.cross_attention", f"{prefix}.crossed", layer.attention)
            for j, name in enumerate(("inner", "outer")):
                _linear(weights, getattr(layer.ffn, f"linear_{j}"), f"{prefix}.feedforward.{name}")
            _norm(weights, layer.ffn.layer_norm, f"{prefix}.transformed")
    symbols = Subwords(weights.tokenizer).symbols()
    spec.register_source_vocabulary(symbols)
    spec.register_target_vocabulary(symbols)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = symbols[1:4]
    spec.config.decoder_start_token = symbols[1]
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))


def _attention(weights: TrainedWeights, name: str, residual: str, spec: Any) -> None:
    """Copy an attention: CTranslate2 has one map for query, key and value, or one for key and value."""
    maps = ["query", "key", "value", "output"]
    splits = [maps[:3], maps[3:]] if len(spec.linear) == 2 else [maps[:1], maps[1:3], maps[3:]]
    for part, names in zip(spec.linear, splits, strict=True):
        _linear(weights, part, *(f"{name}.{linear}" for linear in names))
    _norm(weights, spec.layer_norm, residual)


def _linear(weights: TrainedWeights, spec: Any, *names: str) -> None:
    spec.weight, spec.bias = weights.linear(*names)


def _norm(weights: TrainedWeights, spec: Any, residual: str) -> None:
    spec.gamma, spec.beta = (weights.arrays[f"{residual}.norm.{part}"] for part in ("weight", "bias"))


def load(folder: Path, precision: str, **threads: int) -> tuple[Any, Subwords]:
    """Return a translator for a trained model of seqx, and the subwords of the model."""
    weights = trained_weights.read(folder)
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary, "model")
        convert(weights, model, None if precision == "float32" else precision)
        translator = ctranslate2.Translator(str(model), device="cpu", compute_type=precision, **threads)
    return translator, Subwords(weights.tokenizer)


def logprobs(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the log-probability of each target, EOS included, given its source."""
    translator, subwords = load(folder, "float32")
    symbols = subwords.symbols()
    sources, targets = (
        [[symbols[i] for i in ids] for ids in subwords.encode(side)] for side in zip(*pairs, strict=True)
    )
    # CTranslate2 appends EOS to targets.
    results = translator.score_batch(sources, [target[:-1] for target in targets])
    return [sum(result.log_probs) for result in results]


def decoding(
    folder: Path,
    *,
    beam: int,
    threads: int,
    extra: int,
    precision: str = "float32",
    parallel: bool = False,
    batch: int = 32,
) -> Decode:
    """Return a translator; hypotheses are ranked by their log-probability.

    Args:
        folder: folder of a trained model of seqx
        beam: size of the beam
        threads: number of threads
        extra: maximum length of a translation in subwords, beyond that of the longest source
        precision: float32 or int8
        parallel: use each thread for another batch (inter_threads), not all for one (intra_threads)
        batch: sentences that are decoded together
    """
    inter, intra = (threads, 1) if parallel else (1, threads)
    translator, subwords = load(folder, precision, inter_threads=inter, intra_threads=intra)
    symbols = subwords.symbols()
    ids = {symbol: i for i, symbol in enumerate(symbols)}

    def translate(lines: Sequence[str]) -> list[str]:
        sources = [[symbols[i] for i in row] for row in subwords.encode(lines)]
        results = translator.translate_batch(
            sources,
            max_batch_size=batch,
            beam_size=beam,
            length_penalty=0,
            max_decoding_length=max(map(len, sources)) - 1 + extra,
        )
        return [subwords.decode([ids[symbol] for symbol in result.hypotheses[0]]) for result in results]

    return translate
