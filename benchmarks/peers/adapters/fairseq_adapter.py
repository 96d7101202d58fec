"""fairseq."""

from argparse import Namespace
from collections.abc import Mapping
from importlib.metadata import version

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from torch import Tensor

from benchmarks.peers.adapters.pytorch import loop
from benchmarks.peers.sizes import BOS, DROPOUT, PAD, Size
from benchmarks.peers.worker import Update


def versions() -> Mapping[str, str]:
    """Return the versions of fairseq and torch."""
    return {"fairseq-fixed": version("fairseq-fixed"), "torch": torch.__version__}


def training(size: Size, vocabulary: int, threads: int) -> Update:
    """Return a training loop around a model with random weights."""
    torch.manual_seed(1)
    arguments = Namespace(
        encoder_embed_dim=size.d_model,
        encoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        encoder_ffn_embed_dim=size.width,
        decoder_layers=size.layers,
        decoder_attention_heads=size.heads,
        dropout=DROPOUT,
        share_all_embeddings=True,
    )
    base_architecture(arguments)
    symbols = Dictionary()
    for i in range(len(symbols), vocabulary):
        symbols.add_symbol(str(i))
    symbols.pad_index, symbols.bos_index = PAD, BOS
    task = Namespace(source_dictionary=symbols, target_dictionary=symbols)
    model = TransformerModel.build_model(arguments, task)

    def logits(source: Tensor, inputs: Tensor) -> Tensor:
        outputs, _ = model(source, (source != PAD).sum(1), inputs)
        return outputs

    return loop(model, logits, threads)
