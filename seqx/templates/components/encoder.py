from torch import Tensor, nn

import seqx


class Newcomer(seqx.Encoder):
    """The sum of each token and a linear map of the mean of all tokens."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.mix = nn.Linear(d_model, d_model)

    def forward(self, inputs: Tensor, layout: seqx.Layout) -> Tensor:
        keep = layout.keep[..., None]
        mean = inputs.masked_fill(~keep, 0).sum(1) / keep.sum(1).clamp_min(1)  # [B, D]
        return inputs + self.mix(mean)[:, None]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Encoder, newcomer=Newcomer)
