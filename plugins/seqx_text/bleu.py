"""BLEU, computed by sacreBLEU. The metrics differ in their tokenization, which their signatures record.

Papineni et al. 2002. Post 2018 explains why scores without a signature cannot be compared.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import seqx
from seqx_text import spacing
from seqx_text.moses import Language, MosesTokens, replace_unicode, version

_ADVICE = "use the metric bleu with a setting of tokenize that suits the language"
_ALL = ("Chinese", "Japanese", *spacing.OTHER_SCRIPTS)
_SPLITTABLE = {"char": _ALL, "flores200": _ALL, "zh": ("Chinese",), "ja-mecab": ("Japanese", "Chinese")}
"""The languages without spaces between words that each tokenizer can split."""


@dataclass(frozen=True, kw_only=True)
class Bleu(seqx.Metric):
    """BLEU of detokenized text, tokenized by sacreBLEU: comparable with published scores.

    Args:
        lowercase: ignore case
        tokenize: name of sacreBLEU's tokenizer; 13a is the tokenizer of WMT
    """

    lowercase: bool = False
    tokenize: Literal["13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200"] = "13a"

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the corpus score from 0 to 100, as `bleu`."""
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415

        try:
            bleu = BLEU(lowercase=self.lowercase, tokenize=self.tokenize)
        except (ImportError, RuntimeError, OSError) as error:
            # The tokenizer needs a package that is missing, or a model that cannot be downloaded.
            reason = " ".join(str(error).split())
            raise seqx.UserError(
                f"bleu: tokenize={self.tokenize} cannot be used ({reason}); install what is missing, or set "
                "another tokenizer"
            ) from None
        value = bleu.corpus_score(list(outputs), [list(references)]).score
        return {"bleu": seqx.Score(value=value, signature=str(bleu.get_signature()))}

    def score_names(self) -> Sequence[str] | None:
        """Return the name of the score; import sacreBLEU only for a tokenizer that it may lack."""
        return ["bleu"] if self.tokenize in ("13a", "intl", "char", "zh") else super().score_names()

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if the tokenizer does not split the references into words."""
        tokenization = f"bleu: tokenize={self.tokenize}"
        return spacing.warn_if_unspaced(
            references, tokenization, splittable=_SPLITTABLE.get(self.tokenize, ())
        )


@dataclass(frozen=True, kw_only=True)
class TokenizedBleu(seqx.Metric):
    """BLEU of outputs and references that are tokenized by `normalizers`, without smoothing.

    Args:
        normalizers: normalizers of outputs and references, applied in this order; they put spaces between
            tokens
    """

    normalizers: list[seqx.Normalizer] = field(default_factory=list)

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the corpus score from 0 to 100, as `tokenized_bleu`."""
        tokenization = "+".join(map(repr, self.normalizers)) or "as given"
        score = _tokenized_bleu(map(self._tokens, outputs), map(self._tokens, references), tokenization)
        return {"tokenized_bleu": score}

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if the normalizers do not split the references into words."""
        tokenization = "tokenized_bleu: the list of normalizers"
        return spacing.warn_if_unspaced(list(map(self._tokens, references)), tokenization, advice=_ADVICE)

    def _tokens(self, text: str) -> str:
        for normalizer in self.normalizers:
            text = normalizer(text)
        return text


class PaperBleu(seqx.Metric):
    """BLEU as reported by Vaswani et al. 2017: Moses tokens, split hyphens, case-sensitive, no smoothing.

    The steps are those of the authors' script, get_ende_bleu.sh in tensor2tensor: replace Unicode punctuation
    by ASCII, tokenize with Moses, replace "a-b" by "a ##AT##-##AT## b", compute multi-bleu. The score is
    about 0.7 to 1.0 higher than that of sacreBLEU.

    Args:
        lang: language code of the target language
    """

    def __init__(self, *, lang: Language = "de") -> None:
        self.lang = lang
        self._moses = MosesTokens(lang=lang)

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the corpus score from 0 to 100, as `paper_bleu`."""
        tokenization = f"unicode punctuation+{self._moses!r}+##AT##|sacremoses:{version()}"
        return {
            "paper_bleu": _tokenized_bleu(
                map(self._tokens, outputs), map(self._tokens, references), tokenization
            )
        }

    def score_names(self) -> Sequence[str]:
        """Return the name of the score, without importing sacremoses."""
        return ["paper_bleu"]

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn if Moses' tokenizer does not split the references into words."""
        tokenization = "paper_bleu: Moses' tokenizer"
        return spacing.warn_if_unspaced(list(map(self._tokens, references)), tokenization, advice=_ADVICE)

    def _tokens(self, text: str) -> str:
        tokens = self._moses(replace_unicode(text, self.lang))
        return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", tokens)


def _tokenized_bleu(outputs: Iterable[str], references: Iterable[str], tokenization: str) -> seqx.Score:
    """Return the BLEU of tokenized text; its signature begins with `tokenization`."""
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415

    bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    value = bleu.corpus_score(list(outputs), [list(references)]).score
    return seqx.Score(value=value, signature=f"text:{tokenization}|{bleu.get_signature()}")
