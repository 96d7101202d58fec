"""Check that the task obeys the laws of tasks, on a few sentences."""

import seqx.testing
import seqx_newcomer
from seqx_sample import Sample
from seqx_text import Chrf, SentencePiece

SETTINGS = {
    "corpus": Sample(train=50, dev=5, test=5),
    "tokenizer": SentencePiece(size=400),
    "metric": Chrf(),
}

test_laws = seqx.testing.laws(seqx_newcomer, settings={seqx_newcomer.Newcomer: SETTINGS})
