"""Letter case."""

import seqx


class Lowercase(seqx.Normalizer):
    """Makes all letters small; what a model writes stays small."""

    def __call__(self, text: str) -> str:
        """The text in small letters."""
        return text.lower()

    def __repr__(self) -> str:
        return "lowercase"
