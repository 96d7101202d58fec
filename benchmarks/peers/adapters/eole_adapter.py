"""Eole, the successor of OpenNMT-py."""

from collections.abc import Mapping
from importlib.metadata import version

import pyonmttok
import torch
from eole.config.models import TransformerModelConfig
from eole.config.training import TrainingConfig
from eole.models.model import EncoderDecoderModel
from torch import Tensor, nn

from benchmarks.peers import toolkit_settings
from benchmarks.peers.adapters.pytorch import initialise, loop
from benchmarks.peers.sizes import DROPOUT, PAD, Size
from benchmarks.peers.worker import Update


def versions() -> Mapping[str, str]:
    """Return the versions of eole and torch."""
    return {"eole": version("eole"), "torch": torch.__version__}


def training(size: Size, vocabulary: int, threads: int) -> Update:
    """Return a training loop around a model with random weights."""
    torch.manual_seed(1)
    config = TransformerModelConfig(**toolkit_settings.eole(size))
    running = TrainingConfig(dropout=[DROPOUT], attention_dropout=[0.0])
    special = {"unk_token": "<unk>", "pad_token": "<blank>", "bos_token": "<s>", "eos_token": "</s>"}
    symbols = ["<blank>", "<s>", "</s>", "<unk>", *(f"s{i}" for i in range(4, vocabulary))]
    symbol_ids = pyonmttok.build_vocab_from_tokens(symbols)
    vocabularies = {"src": symbol_ids, "tgt": symbol_ids, "specials": special}
    model = EncoderDecoderModel.build(config, vocabularies, running)
    initialise(model)

    def logits(source: Tensor, inputs: Tensor) -> Tensor:
        lengths = (source != PAD).sum(1)
        # The model removes the last token of the target.
        target = nn.functional.pad(inputs, (0, 1))
        return model.generator(model(source, target, lengths).dec_out)

    return loop(model, logits, threads)
