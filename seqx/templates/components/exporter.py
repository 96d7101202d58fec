from collections.abc import Iterable
from pathlib import Path

import torch

import seqx


class Newcomer(seqx.Exporter):
    """The target embeddings as text: one line for each symbol.

    Args:
        digits: digits after the decimal point
    """

    def __init__(self, *, digits: int = 4) -> None:
        self.digits = digits

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        if "target.weight" not in model.model.state_dict():
            yield "model.type: the model has no target embeddings; use encoder_decoder"

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        table: torch.Tensor = model.model.state_dict()["target.weight"]
        lines = [" ".join(f"{x:.{self.digits}f}" for x in row) for row in table.tolist()]
        (folder / "embeddings.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Exporter, newcomer=Newcomer)
