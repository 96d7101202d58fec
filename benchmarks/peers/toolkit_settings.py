"""The same Transformer in the settings of the toolkits, for bare loops and for their own commands."""

from collections.abc import Mapping
from typing import Any

from benchmarks.peers.sizes import DROPOUT, Size


def opennmt(size: Size) -> Mapping[str, Any]:
    """Return the options of OpenNMT-py that describe the model; layer norm precedes each sub-layer."""
    return {
        "encoder_type": "transformer",
        "decoder_type": "transformer",
        "enc_layers": size.layers,
        "dec_layers": size.layers,
        "heads": size.heads,
        "hidden_size": size.d_model,
        "word_vec_size": size.d_model,
        "transformer_ff": size.width,
        "dropout": DROPOUT,
        "attention_dropout": 0.0,
        "share_vocab": True,
        "position_encoding": True,
        "share_embeddings": True,
        "share_decoder_embeddings": True,
    }


def eole(size: Size) -> Mapping[str, Any]:
    """Return the model in Eole's configuration; layer norm precedes each sub-layer."""
    return {
        "architecture": "transformer",
        "layers": size.layers,
        "hidden_size": size.d_model,
        "heads": size.heads,
        "transformer_ff": size.width,
        "embeddings": {"word_vec_size": size.d_model, "position_encoding": True},
        "share_embeddings": True,
        "share_decoder_embeddings": True,
    }


def joeynmt(size: Size) -> Mapping[str, Any]:
    """Return the model in JoeyNMT's configuration."""
    side = {
        "type": "transformer",
        "num_layers": size.layers,
        "num_heads": size.heads,
        "embeddings": {"embedding_dim": size.d_model, "scale": True, "dropout": DROPOUT},
        "hidden_size": size.d_model,
        "ff_size": size.width,
        "dropout": DROPOUT,
        "layer_norm": "post",
    }
    return {
        "initializer": "xavier_uniform",
        "embed_initializer": "xavier_uniform",
        "bias_initializer": "zeros",
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": side,
        "decoder": dict(side),
    }
