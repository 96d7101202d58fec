"""Spelling correction: a corpus of words with typing errors, and a task that corrects them."""

import seqx

from seqx_spelling.accuracy import WordAccuracy
from seqx_spelling.characters import Characters
from seqx_spelling.misspelt import Misspelt
from seqx_spelling.task import Spelling

__all__ = ["Characters", "Misspelt", "Spelling", "WordAccuracy", "seqx_register"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the task, its corpus, tokenizer and metric."""
    registry.add(seqx.Task, spelling=Spelling)
    registry.add(seqx.Corpus, misspelt=Misspelt)
    registry.add(seqx.Tokenizer, characters=Characters)
    registry.add(seqx.Metric, word_accuracy=WordAccuracy)
