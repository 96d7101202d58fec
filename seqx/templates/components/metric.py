from collections.abc import Mapping, Sequence

import seqx


class Newcomer(seqx.Metric):
    """The percentage of outputs that equal their reference."""

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        correct = sum(output == reference for output, reference in zip(outputs, references, strict=True))
        value = 100 * correct / max(len(references), 1)
        return {"exact": seqx.Score(value=value, signature=f"exact|lines:{len(references)}")}


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Metric, newcomer=Newcomer)
