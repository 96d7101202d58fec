"""BLEU, computed by sacreBLEU. The metrics differ in their tokenization, which their signatures record.

Papineni et al. 2002. Post 2018 explains why scores without a signature cannot be compared.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import seqx
from seqx_text import spacing
from seqx_text.moses import Language, MosesTokens, replace_unicode, version
from seqx_text.sacrebleu_metric import Resamples, SacrebleuMetric

_ADVICE = "use the metric bleu with a setting of tokenize that suits the language"
_ALL = ("Chinese", "Japanese", *spacing.OTHER_SCRIPTS)
_SPLITTABLE = {"char": _ALL, "flores200": _ALL, "zh": ("Chinese",), "ja-mecab": ("Japanese", "Chinese")}
"""The languages without spaces between words that each tokenizer can split."""


@dataclass(frozen=True, kw_only=True)
class Bleu(SacrebleuMetric):
    """BLEU of detokenized text, tokenized by sacreBLEU: comparable with published scores.

    Args:
        lowercase: ignore case
        tokenize: name of sacreBLEU's tokenizer; 13a is the tokenizer of WMT
        bootstrap: number of resamples for a 95% confidence interval (Koehn 2004), such as 1000; 0: none
    """

    name = "bleu"

    lowercase: bool = False
    tokenize: Literal["13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200"] = "13a"
    bootstrap: Resamples = 0

    def scorer(self, *, sentences: bool) -> Any:
        """Return sacreBLEU's metric."""
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415

        try:
            return BLEU(lowercase=self.lowercase, tokenize=self.tokenize, effective_order=sentences)
        except (ImportError, RuntimeError, OSError) as error:
            # The tokenizer needs a package that is missing, or a model that cannot be downloaded.
            reason = " ".join(str(error).split())
            raise seqx.UserError(
                f"bleu: tokenize={self.tokenize} cannot be used ({reason}); install what is missing, or set "
                "another tokenizer"
            ) from None

    def score_names(self) -> Sequence[str]:
        """Return the name of the score; import sacreBLEU only for a tokenizer that it may lack."""
        if self.tokenize not in ("13a", "intl", "char", "zh"):
            self.scorer(sentences=False)
        return super().score_names()

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if the tokenizer does not split the references into words."""
        tokenization = f"bleu: tokenize={self.tokenize}"
        return spacing.warn_if_unspaced(
            references, tokenization, splittable=_SPLITTABLE.get(self.tokenize, ())
        )


class _TokenBleu(SacrebleuMetric):
    """BLEU of text whose tokens are separated by spaces, without smoothing."""

    def scorer(self, *, sentences: bool) -> Any:
        """Return sacreBLEU's metric."""
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415

        return BLEU(tokenize="none", smooth_method="none", force=True, effective_order=sentences)


@dataclass(frozen=True, kw_only=True)
class TokenizedBleu(_TokenBleu):
    """BLEU of outputs and references that are tokenized by `normalizers`, without smoothing.

    Args:
        normalizers: normalizers of outputs and references, applied in this order; they put spaces between
            tokens
        bootstrap: number of resamples for a 95% confidence interval (Koehn 2004), such as 1000; 0: none
    """

    name = "tokenized_bleu"

    normalizers: list[seqx.Normalizer] = field(default_factory=list)
    bootstrap: Resamples = 0

    def prepare(self, text: str) -> str:
        """Return the tokens of a text."""
        return seqx.normalize(self.normalizers, text)

    def signature(self, signature: str) -> str:
        """Return the signature with the names of the normalizers."""
        return f"text:{'+'.join(map(repr, self.normalizers)) or 'as given'}|{signature}"

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if the normalizers do not split the references into words."""
        tokenization = "tokenized_bleu: the list of normalizers"
        return spacing.warn_if_unspaced(list(map(self.prepare, references)), tokenization, advice=_ADVICE)


class PaperBleu(_TokenBleu):
    """BLEU as reported by Vaswani et al. 2017: Moses tokens, split hyphens, case-sensitive, no smoothing.

    The steps are those of the authors' script, get_ende_bleu.sh in tensor2tensor: replace Unicode punctuation
    by ASCII, tokenize with Moses, replace "a-b" by "a ##AT##-##AT## b", compute multi-bleu. The score is
    about 0.7 to 1.0 higher than that of sacreBLEU.

    Args:
        lang: language code of the target language
        bootstrap: number of resamples for a 95% confidence interval (Koehn 2004), such as 1000; 0: none
    """

    name = "paper_bleu"

    def __init__(self, *, lang: Language = "de", bootstrap: Resamples = 0) -> None:
        self.lang = lang
        self.bootstrap = bootstrap
        self._moses = MosesTokens(lang=lang)

    def signature(self, signature: str) -> str:
        """Return the signature with the steps of the tokenization."""
        return f"text:unicode punctuation+{self._moses!r}+##AT##|sacremoses:{version()}|{signature}"

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if Moses' tokenizer does not split the references into words."""
        tokenization = "paper_bleu: Moses' tokenizer"
        return spacing.warn_if_unspaced(list(map(self.prepare, references)), tokenization, advice=_ADVICE)

    def prepare(self, text: str) -> str:
        """Return the tokens of a text."""
        tokens = self._moses(replace_unicode(text, self.lang))
        return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", tokens)
