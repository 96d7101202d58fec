"""Spelling correction: words with typing errors, made from any text, and a task that mends them."""

import seqx

from seqx_spelling.accuracy import WordAccuracy
from seqx_spelling.characters import Characters
from seqx_spelling.misspelt import Misspelt
from seqx_spelling.task import Spelling

__all__ = ["Characters", "Misspelt", "Spelling", "WordAccuracy", "seqx_register"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer the task and what it is made of."""
    registry.add(seqx.Task, spelling=Spelling)
    registry.add(seqx.Corpus, misspelt=Misspelt)
    registry.add(seqx.Tokenizer, characters=Characters)
    registry.add(seqx.Metric, word_accuracy=WordAccuracy)
