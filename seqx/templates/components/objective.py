from collections.abc import Mapping

from torch import Tensor

import seqx


class Newcomer(seqx.Objective):
    """The negative log-likelihood of the target."""

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        return {"loss": -model.score(batch).sum()}


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Objective, newcomer=Newcomer)
