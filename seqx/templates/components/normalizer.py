import seqx


class Newcomer(seqx.Normalizer):
    """Straight quotation marks in place of curved ones."""

    def __call__(self, text: str) -> str:
        return text.translate(str.maketrans("\u201c\u201d\u2018\u2019", "\"\"''"))


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Normalizer, newcomer=Newcomer)
