"""The base class of components that define a vocabulary."""

from collections.abc import Mapping
from typing import ClassVar


class Codec:
    """A component of a task that defines the meaning of token ids, such as a tokenizer.

    Its settings are fixed once the vocabulary is learned: a run that starts from a model must have the same
    settings as the model, and overrides of a finished model cannot change them.
    """

    adjustable: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that may change afterwards, because they do not affect the vocabulary."""

    extendable: ClassVar[frozenset[str]] = frozenset()
    """Names of settings to which values may be added when the vocabulary is extended."""

    def identity(self) -> Mapping[str, object]:
        """Return plain values that determine the vocabulary besides the settings and the training text.

        They are part of the keys of the cache; for example, the hash of a file that a setting names.
        """
        return {}
