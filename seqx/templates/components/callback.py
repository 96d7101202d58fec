import seqx


class Newcomer(seqx.Callback):
    """The answers to some inputs after each validation.

    Args:
        inputs: the inputs
    """

    def __init__(self, *, inputs: tuple[str, ...] = ("The cat sleeps.",)) -> None:
        self.inputs = inputs

    @seqx.hookimpl
    def evaluated(self, step: int, split: str, predictor: seqx.Predictor) -> None:
        for text, answer in zip(self.inputs, predictor(self.inputs), strict=True):
            print(f"update {step}, {split}: {text} -> {answer}")


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, newcomer=Newcomer)
