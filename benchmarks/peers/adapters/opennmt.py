"""OpenNMT-py."""

from collections.abc import Mapping
from importlib.metadata import version

import pyonmttok
import torch
from onmt.model_builder import build_base_model
from onmt.opts import train_opts
from onmt.utils.parse import ArgumentParser
from torch import Tensor, nn

from benchmarks.peers import toolkit_settings
from benchmarks.peers.adapters.pytorch import initialise, loop
from benchmarks.peers.sizes import PAD, Size
from benchmarks.peers.worker import Update


def versions() -> Mapping[str, str]:
    """Return the versions of OpenNMT-py and torch."""
    return {"OpenNMT-py": version("OpenNMT-py"), "torch": torch.__version__}


def options(size: Size) -> list[str]:
    """Return the options of `onmt_train` that describe the model."""
    values = toolkit_settings.opennmt(size).items()
    return [f"-{name}" if value is True else f"-{name}={value}" for name, value in values]


def training(size: Size, vocabulary: int, threads: int) -> Update:
    """Return a training loop around a model with random weights."""
    torch.manual_seed(1)
    parser = ArgumentParser()
    train_opts(parser)
    parsed, _ = parser.parse_known_args([*options(size), "-data={}", "-src_vocab=none"])
    parser.update_model_opts(parsed)
    symbols = ["<blank>", "<s>", "</s>", "<unk>", *(f"s{i}" for i in range(4, vocabulary))]
    symbol_ids = pyonmttok.build_vocab_from_tokens(symbols)
    model = build_base_model(parsed, {"src": symbol_ids, "tgt": symbol_ids, "data_task": "seq2seq"})
    initialise(model)

    def logits(source: Tensor, inputs: Tensor) -> Tensor:
        lengths = (source != PAD).sum(1)
        # The model removes the last token of the target.
        target = nn.functional.pad(inputs, (0, 1))
        outputs, _ = model(source[:, :, None], target[:, :, None], lengths)
        return model.generator(outputs)

    return loop(model, logits, threads)
