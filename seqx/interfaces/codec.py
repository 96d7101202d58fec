"""Components that decide what the ids of a vocabulary mean."""

from typing import ClassVar


class Codec:
    """A component of a task that decides what the ids of a vocabulary mean, such as a tokenizer.

    Its settings are fixed once the vocabulary is learnt: a run that starts from a model must have the
    settings of the model, and overrides of a finished model cannot change them.
    """

    adjustable: ClassVar[frozenset[str]] = frozenset()
    """Settings that may change nevertheless, because they do not affect the vocabulary."""
