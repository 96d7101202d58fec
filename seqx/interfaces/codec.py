"""The parts of a task that decide what the ids of its vocabulary mean."""

from typing import ClassVar


class Codec:
    """A part of a task that decides what the ids of its vocabulary mean, as a tokenizer does.

    Once a vocabulary is learnt, its settings are fixed: a run that starts from a model must have those of the
    model, and they cannot be changed when a model is loaded.
    """

    adjustable: ClassVar[frozenset[str]] = frozenset()
    """The settings that may be changed all the same, because they change nothing that was learnt."""
