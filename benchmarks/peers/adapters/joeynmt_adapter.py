"""JoeyNMT."""

from collections.abc import Mapping
from importlib.metadata import version

import torch
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary
from torch import Tensor

from benchmarks.peers import toolkit_settings
from benchmarks.peers.adapters.pytorch import loop
from benchmarks.peers.sizes import BOS, EOS, PAD, UNK, Size
from benchmarks.peers.worker import Update


def versions() -> Mapping[str, str]:
    """Return the versions of JoeyNMT and torch."""
    return {"joeynmt": version("joeynmt"), "torch": torch.__version__}


class Ids(Vocabulary):  # type: ignore[misc]
    """A vocabulary of numbers with the special ids of seqx; that of JoeyNMT has others."""

    def __init__(self, size: int) -> None:
        self._itos = [str(i) for i in range(size)]
        self._stoi = {token: i for i, token in enumerate(self._itos)}
        self.specials = self._itos[: UNK + 1]
        self.lang_tags: list[str] = []
        self.pad_index, self.bos_index, self.eos_index, self.unk_index = PAD, BOS, EOS, UNK
        self.sep_index = None


def training(size: Size, vocabulary: int, threads: int) -> Update:
    """Return a training loop around a model with random weights."""
    torch.manual_seed(1)
    symbols = Ids(vocabulary)
    model = build_model(toolkit_settings.joeynmt(size), symbols, symbols)

    def logits(source: Tensor, inputs: Tensor) -> Tensor:
        outputs, *_ = model._encode_decode(  # noqa: SLF001  no public method returns the logits of training
            src=source,
            trg_input=inputs,
            src_mask=(source != PAD)[:, None],
            src_length=(source != PAD).sum(1),
            trg_mask=(inputs != PAD)[:, None],
        )
        return outputs

    return loop(model, logits, threads)
