from typing import Any

from torch import nn

import seqx
from seqx_transformer import Initialisation


class Newcomer(Initialisation):
    """Orthogonal weights and zero biases in all linear maps."""

    def __call__(self, layers: seqx.Layers[Any]) -> None:
        for module in layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(Initialisation, newcomer=Newcomer)
