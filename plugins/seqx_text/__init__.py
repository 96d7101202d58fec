"""Normalizers, tokenizers, corpora of text files, mixed and tagged corpora, and metrics."""

import seqx
from seqx_text.bleu import Bleu, PaperBleu, TokenizedBleu
from seqx_text.case import Lowercase
from seqx_text.chrf import Chrf
from seqx_text.files import Files
from seqx_text.labels import F1, Accuracy
from seqx_text.marian import Marian
from seqx_text.mixed import Mixed
from seqx_text.moses import MosesPunctuation, MosesTokens
from seqx_text.mtdata_ids import MTData
from seqx_text.rouge import Rouge
from seqx_text.sentencepiece import SentencePiece
from seqx_text.sentencepiece_file import SentencePieceFile
from seqx_text.squad import ExactMatch, SquadF1
from seqx_text.symbol_lists import Characters, Words
from seqx_text.tables import Datasets, Table
from seqx_text.tagged import TaggedCorpus
from seqx_text.ter import Ter
from seqx_text.tmx import Tmx
from seqx_text.unicode import UnicodeForm

__all__ = [
    "F1",
    "Accuracy",
    "Bleu",
    "Characters",
    "Chrf",
    "Datasets",
    "ExactMatch",
    "Files",
    "Lowercase",
    "MTData",
    "Marian",
    "Mixed",
    "MosesPunctuation",
    "MosesTokens",
    "PaperBleu",
    "Rouge",
    "SentencePiece",
    "SentencePieceFile",
    "SquadF1",
    "Table",
    "TaggedCorpus",
    "Ter",
    "Tmx",
    "TokenizedBleu",
    "UnicodeForm",
    "Words",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the components of this plugin."""
    registry.add(
        seqx.Normalizer,
        lowercase=Lowercase,
        moses_punctuation=MosesPunctuation,
        moses_tokens=MosesTokens,
        unicode=UnicodeForm,
    )
    registry.add(
        seqx.Tokenizer,
        chars=Characters,
        marian=Marian,
        sentencepiece=SentencePiece,
        sentencepiece_file=SentencePieceFile,
        words=Words,
    )
    registry.add(
        seqx.Corpus,
        datasets=Datasets,
        files=Files,
        mixed=Mixed,
        table=Table,
        tagged=TaggedCorpus,
        mtdata=MTData,
        tmx=Tmx,
    )
    registry.add(
        seqx.Metric,
        accuracy=Accuracy,
        bleu=Bleu,
        chrf=Chrf,
        exact_match=ExactMatch,
        f1=F1,
        paper_bleu=PaperBleu,
        rouge=Rouge,
        squad_f1=SquadF1,
        ter=Ter,
        tokenized_bleu=TokenizedBleu,
    )
