"""The bare training loop of all toolkits on PyTorch, with seqx's optimizer and loss."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.sizes import BETAS, BOS, EPSILON, LEARNING_RATE, PAD, SMOOTHING, Pairs
from benchmarks.peers.worker import Update


def initialise(model: nn.Module) -> None:
    """Set the weights of a model whose toolkit leaves them undefined: Glorot's for matrices, 0 for biases."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def loop(model: nn.Module, logits: Callable[[Tensor, Tensor], Tensor], threads: int) -> Update:
    """Return a function that makes one update.

    Args:
        model: the model
        logits: returns logits [B, T, V] for a source [B, S] and decoder inputs [B, T] with BOS
        threads: the number of threads of torch
    """
    torch.set_num_threads(threads)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, BETAS, EPSILON)

    def update(pairs: Pairs) -> float:
        source, target = torch.from_numpy(pairs.source), torch.from_numpy(pairs.target)
        inputs = target.roll(1, 1)
        inputs[:, 0] = BOS
        scores = logits(source, inputs.where(target != PAD, PAD))
        loss = F.cross_entropy(
            scores.flatten(0, 1), target.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss.detach())

    return update
