"""Normalizers that process text as the Moses toolkit does (Koehn et al. 2007), with the package sacremoses.

Creating a component checks that the package is installed; using it imports the package.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import seqx

# fmt: off
Language = Literal[
    "as", "bn", "ca", "cs", "de", "el", "en", "es", "et", "fi", "fr", "ga", "gu", "hi", "hu", "is",
    "it", "kn", "lt", "lv", "ml", "mni", "mr", "nl", "or", "pa", "pl", "pt", "ro", "ru", "sk", "sl",
    "sv", "ta", "te", "tdt", "yue", "zh",
]
# fmt: on
"""The languages that Moses has rules for; sacremoses silently treats any other language as English."""


@dataclass(frozen=True, kw_only=True)
class MosesPunctuation(seqx.Normalizer):
    """Moses' normalize-punctuation.perl: plain quotes and dashes, and the spacing rules of the language.

    Args:
        lang: language code, such as `en`; use en for languages that Moses has no rules for
    """

    lang: Language

    def __post_init__(self) -> None:
        _require()

    def __call__(self, text: str) -> str:
        """Return the text with normalized punctuation."""
        return _punctuation(self.lang).normalize(text)

    def __repr__(self) -> str:
        return f"moses_punctuation({self.lang})"


@dataclass(frozen=True, kw_only=True)
class MosesTokens(seqx.Normalizer):
    """Moses' tokenizer.perl: tokens are separated by spaces, special characters escaped, hyphens not split.

    Args:
        lang: language code, such as `en`, for the rules on abbreviations and apostrophes; use en for
            languages that Moses has no rules for
    """

    lang: Language

    def __post_init__(self) -> None:
        _require()

    def __call__(self, text: str) -> str:
        """Return the tokens, separated by spaces."""
        return _tokenizer(self.lang).tokenize(
            text, aggressive_dash_splits=False, escape=True, return_str=True
        )

    def restore(self, text: str) -> str:
        """Return the text detokenized by Moses' detokenizer.perl."""
        return _detokenizer(self.lang).detokenize(text.split())

    def __repr__(self) -> str:
        return f"moses_tokens({self.lang})"


def version() -> str:
    """Return the version of sacremoses in use."""
    return importlib.metadata.version("sacremoses")


def replace_unicode(text: str, lang: str) -> str:
    """Convert typographic and wide punctuation to ASCII, as Moses' replace-unicode-punctuation.perl."""
    return _punctuation(lang).replace_unicode_punct(text)


def _require() -> None:
    if importlib.util.find_spec("sacremoses") is None:
        raise ValueError(
            "Moses' text processing needs the package sacremoses, which is not installed: "
            "pip install sacremoses"
        )


@cache
def _punctuation(lang: str) -> Any:
    import sacremoses  # noqa: PLC0415

    return sacremoses.MosesPunctNormalizer(lang=lang)


@cache
def _tokenizer(lang: str) -> Any:
    import sacremoses  # noqa: PLC0415

    return sacremoses.MosesTokenizer(lang=lang)


@cache
def _detokenizer(lang: str) -> Any:
    import sacremoses  # noqa: PLC0415

    return sacremoses.MosesDetokenizer(lang=lang)
