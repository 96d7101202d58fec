"""Muon for hidden matrices, Adam for the rest, as one torch optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

import seqx
from seqx_training.optimizers import AdamW, Betas


@dataclass(frozen=True, kw_only=True)
class Muon(seqx.Optimizer):
    """Momentum whose matrices are made orthogonal, for hidden layers; AdamW for everything else.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), in torch's form; Liu et al. 2025
    (arXiv:2502.16982). Hidden are the matrices inside of encoders, decoders and `seqx.Layers`, but for
    those of embeddings (`nn.Embedding`) and positional encodings. AdamW learns the rest: embeddings, the
    projection to the vocabulary and other heads, vectors, kernels of convolutions. A matrix that holds
    several maps side by side (the gates of an LSTM) counts as one.

    Args:
        momentum: decay of the average of the gradient, which is Nesterov's
        adjust: how an update of a matrix [m, n] is scaled: match_rms_adamw, 0.2 sqrt(max(m, n)), as large
            as Adam's, so that one learning rate suits both (Liu et al.); original, sqrt(max(1, m / n))
        ratio: the hidden matrices' learning rate over that of the rest, which is the schedule's
        steps: of the Newton-Schulz iteration that makes an update orthogonal
        betas: of AdamW
        eps: of AdamW
        decay: share of each weight lost in an update, times its learning rate; vectors are not decayed
    """

    momentum: Annotated[float, Ge(0), Lt(1)] = 0.95
    adjust: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    ratio: Annotated[float, Gt(0)] = 1.0
    steps: Annotated[int, Gt(0), Lt(100)] = 5
    betas: Betas = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9
    decay: Annotated[float, Ge(0)] = 0.01

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Both for the parameters of `module`.

        Raises:
            UserError: it has no hidden matrices
        """
        matrices = hidden(module)
        if not matrices:
            raise seqx.UserError(
                "training.optimizer: muon is for matrices of encoders, decoders and layers, "
                "and the model has none; train it with adamw"
            )
        muon = torch.optim.Muon(
            [{"params": list(matrices.values()), "scale": self.ratio}],
            momentum=self.momentum,
            weight_decay=self.decay,
            ns_steps=self.steps,
            adjust_lr_fn=self.adjust,
        )
        rest = [p for name, p in module.named_parameters() if name not in matrices]
        adam = AdamW(betas=self.betas, eps=self.eps, decay=self.decay)
        return MuonWithAdamW(muon, adam.of(rest)) if rest else muon


INSIDE = (seqx.Encoder, seqx.Decoder, seqx.Layers)
OUTSIDE = (nn.Embedding, seqx.PositionalEncoding)


def hidden(module: nn.Module) -> dict[str, nn.Parameter]:
    """The hidden matrices, by name; what has one row or one column is a vector."""

    def held(parts: tuple[type[nn.Module], ...]) -> set[nn.Parameter]:
        return {p for part in module.modules() if isinstance(part, parts) for p in part.parameters()}

    inside = held(INSIDE) - held(OUTSIDE)
    return {
        name: p for name, p in module.named_parameters() if p in inside and p.dim() == 2 and min(p.shape) > 1
    }


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers, each for its own parameters, that step and are saved as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._show()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make the update of each."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        self._show()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each its own; the state is that of one optimizer with the groups of both."""
        super().load_state_dict(_joined(state_dict))
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            own = [p for group in part.param_groups for p in group["params"] if p in self.state]
            part.state.clear()
            part.state.update({p: self.state[p] for p in own})
        self._show()

    def _show(self) -> None:
        """The groups are the very ones that the optimizers step by: whoever sets a rate sets theirs."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state = cast(Any, {p: s for part in self.parts for p, s in part.state.items()})


def _joined(state: dict[str, Any]) -> dict[str, Any]:
    """A state that was saved as a list of both, as the first checkpoints have it, as that of one."""
    if "parts" not in state:
        return state
    held, groups, count = {}, [], 0
    for part in state["parts"]:
        held.update({count + number: values for number, values in part["state"].items()})
        groups += [
            {**group, "params": [count + number for number in group["params"]]}
            for group in part["param_groups"]
        ]
        count += sum(len(group["params"]) for group in part["param_groups"])
    return {"state": held, "param_groups": groups}
