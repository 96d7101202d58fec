"""Muon for hidden matrices and AdamW for all other parameters, as one torch optimizer."""

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
    """Muon: momentum, orthogonalised, for hidden matrices; AdamW for all other parameters.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), in torch's implementation; Liu et al. 2025
    (arXiv:2502.16982). Hidden matrices are those inside of encoders, decoders and `seqx.Layers`, except
    embeddings (`nn.Embedding`) and positional encodings. AdamW updates all other parameters: embeddings,
    output projections, vectors and convolution kernels. A matrix of several maps, such as the gates of an
    LSTM, is orthogonalised as a whole.

    Args:
        momentum: decay of Nesterov momentum
        adjust: scale of the update of a matrix [m, n]: match_rms_adamw: 0.2 sqrt(max(m, n)), as large as an
            update of AdamW, so that both use one learning rate (Liu et al.); original: sqrt(max(1, m / n))
        ratio: learning rate of hidden matrices divided by that of the schedule
        steps: iterations of Newton-Schulz, which orthogonalises the update
        betas: betas of AdamW
        eps: eps of AdamW
        decay: weight decay per update, as a multiple of the learning rate; vectors are not decayed
    """

    momentum: Annotated[float, Ge(0), Lt(1)] = 0.95
    adjust: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    ratio: Annotated[float, Gt(0)] = 1.0
    steps: Annotated[int, Gt(0), Lt(100)] = 5
    betas: Betas = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-9
    decay: Annotated[float, Ge(0)] = 0.01

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build one optimizer for all parameters of `module`.

        Raises:
            UserError: the module has no hidden matrices
        """
        self.check(module)
        matrices = hidden_matrices(module)
        muon = torch.optim.Muon(
            [{"params": list(matrices.values()), "scale": self.ratio}],
            momentum=self.momentum,
            weight_decay=self.decay,
            ns_steps=self.steps,
            adjust_lr_fn=self.adjust,
        )
        other_parameters = [p for name, p in module.named_parameters() if name not in matrices]
        adam = AdamW(betas=self.betas, eps=self.eps, decay=self.decay)
        return MuonWithAdamW(muon, adam.build_for(other_parameters)) if other_parameters else muon

    def check(self, module: nn.Module) -> None:
        """Check that a module has hidden matrices.

        Raises:
            UserError: it has none
        """
        if not hidden_matrices(module):
            raise seqx.UserError(
                "training.optimizer: muon needs matrices in encoders, decoders or layers, and this model has "
                "none; set training.optimizer: adamw"
            )


HIDDEN = (seqx.Encoder, seqx.Decoder, seqx.Layers)
NOT_HIDDEN = (nn.Embedding, seqx.PositionalEncoding)


def hidden_matrices(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the hidden matrices by name, without matrices of a single row or column."""

    def parameters_of(classes: tuple[type[nn.Module], ...]) -> set[nn.Parameter]:
        return {p for part in module.modules() if isinstance(part, classes) for p in part.parameters()}

    candidates = parameters_of(HIDDEN) - parameters_of(NOT_HIDDEN)
    return {
        name: p
        for name, p in module.named_parameters()
        if p in candidates and p.dim() == 2 and min(p.shape) > 1
    }


class MuonWithAdamW(torch.optim.Optimizer):
    """Several optimizers with disjoint parameters that are stepped and saved as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._expose_parts()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step each optimizer."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        self._expose_parts()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state with the groups of all optimizers, and give each optimizer its part."""
        super().load_state_dict(_merge_parts(state_dict))
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            own = [p for group in part.param_groups for p in group["params"] if p in self.state]
            part.state.clear()
            part.state.update({p: self.state[p] for p in own})
        self._expose_parts()

    def _expose_parts(self) -> None:
        """Expose the optimizers' own groups and states, so that a learning rate set here applies to them."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state = cast(Any, {p: s for part in self.parts for p, s in part.state.items()})


def _merge_parts(state: dict[str, Any]) -> dict[str, Any]:
    """Convert the list of states in checkpoints of early versions to a single state."""
    if "parts" not in state:
        return state
    merged, groups, count = {}, [], 0
    for part in state["parts"]:
        merged.update({count + number: values for number, values in part["state"].items()})
        groups += [
            {**group, "params": [count + number for number in group["params"]]}
            for group in part["param_groups"]
        ]
        count += sum(len(group["params"]) for group in part["param_groups"])
    return {"state": merged, "param_groups": groups}
