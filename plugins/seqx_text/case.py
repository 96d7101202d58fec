"""Normalize letter case."""

import seqx


class Lowercase(seqx.Normalizer):
    """Converts text to lower case. Outputs are not restored: they stay in lower case."""

    def __call__(self, text: str) -> str:
        """Return the text in lower case."""
        return text.lower()

    def __repr__(self) -> str:
        return "lowercase"
