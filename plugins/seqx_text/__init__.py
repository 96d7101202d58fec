"""Text: normalizers, the SentencePiece tokenizer, parallel text files, mixed corpora, BLEU and chrF."""

import seqx
from seqx_text.bleu import Bleu, PaperBleu, TokenizedBleu
from seqx_text.case import Lowercase
from seqx_text.chrf import Chrf
from seqx_text.files import Files
from seqx_text.mixed import Mixed
from seqx_text.moses import MosesPunctuation, MosesTokens
from seqx_text.sentencepiece import SentencePiece
from seqx_text.tagged import TaggedCorpus
from seqx_text.unicode import UnicodeForm

__all__ = [
    "Bleu",
    "Chrf",
    "Files",
    "Lowercase",
    "Mixed",
    "MosesPunctuation",
    "MosesTokens",
    "PaperBleu",
    "SentencePiece",
    "TaggedCorpus",
    "TokenizedBleu",
    "UnicodeForm",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer this plugin's components."""
    registry.add(
        seqx.Normalizer,
        lowercase=Lowercase,
        moses_punctuation=MosesPunctuation,
        moses_tokens=MosesTokens,
        unicode=UnicodeForm,
    )
    registry.add(seqx.Tokenizer, sentencepiece=SentencePiece)
    registry.add(seqx.Corpus, files=Files, mixed=Mixed, tagged=TaggedCorpus)
    registry.add(seqx.Metric, bleu=Bleu, chrf=Chrf, paper_bleu=PaperBleu, tokenized_bleu=TokenizedBleu)
