"""A normalizer of letter case."""

import seqx


class Lowercase(seqx.Normalizer):
    """Conversion of text to lower case, which is not undone: outputs are in lower case."""

    def __call__(self, text: str) -> str:
        """Return the text in lower case."""
        return text.lower()

    def __repr__(self) -> str:
        return "lowercase"
