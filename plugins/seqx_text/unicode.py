"""Unicode normalization forms."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

import seqx


@dataclass(frozen=True, kw_only=True)
class UnicodeForm(seqx.Normalizer):
    """Unicode normalization (Unicode Standard Annex 15).

    Args:
        form: NFC composes accents; NFKC also replaces ligatures, wide letters and no-break spaces by plain
            characters
    """

    form: Literal["NFC", "NFKC"] = "NFC"

    def __call__(self, text: str) -> str:
        """Return the text in the normalization form `form`."""
        return unicodedata.normalize(self.form, text)

    def __repr__(self) -> str:
        return self.form.lower()
