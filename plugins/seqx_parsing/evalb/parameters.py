"""The parameters of EVALB, and their files (.prm)."""

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import seqx

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Rules for comparing brackets; the defaults are those of COLLINS.prm, the standard for WSJ."""

    debug: int = 0  # not used; EVALB prints debugging output if it is greater than 0
    max_error: int = 10  # EVALB stops after this many errors; seqx only reports that there were more
    cutoff: int = 40  # the second summary covers sentences of at most this many words
    labeled: bool = True
    delete: tuple[str, ...] = ("TOP", "-NONE-", ",", ":", "``", "''", ".")
    delete_for_length: tuple[str, ...] = ("-NONE-",)
    quotes: tuple[str, ...] = ()  # tags of words that may be quotation marks
    equal_labels: tuple[Pair, ...] = (("ADVP", "PRT"),)
    equal_words: tuple[Pair, ...] = ()
    name: str = field(default="COLLINS", compare=False)

    @cached_property
    def deleted_tags(self) -> frozenset[str]:
        """The tags of the words that are deleted before trees are compared."""
        return frozenset(self.delete)

    @cached_property
    def deleted_labels(self) -> frozenset[str]:
        """The labels of constituents that do not count: `deleted_tags`, and labels that equal one of them."""
        return self.deleted_tags | {a for a, b in self.label_pairs if b in self.deleted_tags}

    @cached_property
    def label_pairs(self) -> frozenset[Pair]:
        """The pairs of equal labels, in both orders."""
        return _symmetric(self.equal_labels)

    @cached_property
    def word_pairs(self) -> frozenset[Pair]:
        """The pairs of equal words, in both orders."""
        return _symmetric(self.equal_words)

    def same_label(self, one: str, other: str) -> bool:
        """Return true if two labels or tags count as equal. The relation is not transitive."""
        return one == other or (one, other) in self.label_pairs

    def same_word(self, one: str, other: str) -> bool:
        """Return true if two words count as equal."""
        return one == other or (one, other) in self.word_pairs

    @property
    def signature(self) -> str:
        """The name COLLINS for parameters equivalent to it, else the file's name and a hash of the values."""
        if self._effect == COLLINS._effect:
            return COLLINS.name
        return f"{self.name}:{hashlib.sha256(repr(self._effect).encode()).hexdigest()[:8]}"

    @property
    def _effect(self) -> tuple[object, ...]:
        """A value that is equal for equivalent parameters; their order in a file does not matter."""
        tags = (self.delete, self.delete_for_length, self.quotes)
        pairs = (self.label_pairs, self.word_pairs)
        return self.cutoff, self.labeled, *(sorted(set(each)) for each in tags), *map(sorted, pairs)


def _symmetric(pairs: tuple[Pair, ...]) -> frozenset[Pair]:
    return frozenset(pairs) | {(b, a) for a, b in pairs}


COLLINS = Parameters()


def read_parameters(path: Path) -> Parameters:
    """Read a parameter file. A list that the file does not mention is empty.

    Raises:
        UserError: a parameter is unknown or has an invalid value; the message has file and line
    """
    values: dict[str, Any] = {key: () for key, _, read in _PARAMETERS.values() if read in (_label, _pair)}
    for number, line in enumerate(seqx.read_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *arguments = line.split()
        if name not in _PARAMETERS:
            near = difflib.get_close_matches(name.upper(), _PARAMETERS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known parameters: {', '.join(_PARAMETERS)}"
            raise seqx.UserError(f"{path}:{number}: EVALB has no parameter {name}; {hint}")
        key, expected, read = _PARAMETERS[name]
        try:
            value = read(*arguments)
        except (TypeError, ValueError):
            found = " ".join(arguments) or "nothing"
            raise seqx.UserError(f"{path}:{number}: {name} needs {expected}, found {found}") from None
        values[key] = (*values[key], value) if key in values and read in (_label, _pair) else value
    return replace(COLLINS, name=path.name, **values)


def _number(value: str) -> int:
    if not value.isdecimal():
        raise ValueError(value)
    return int(value)


def _switch(value: str) -> bool:
    return bool(("0", "1").index(value))


def _label(value: str) -> str:
    return value


def _pair(one: str, other: str) -> Pair:
    return one, other


_PARAMETERS: Mapping[str, tuple[str, str, Callable[..., Any]]] = {
    "DEBUG": ("debug", "a whole number", _number),
    "MAX_ERROR": ("max_error", "a whole number", _number),
    "CUTOFF_LEN": ("cutoff", "a whole number", _number),
    "LABELED": ("labeled", "0 or 1", _switch),
    "DELETE_LABEL": ("delete", "one label", _label),
    "DELETE_LABEL_FOR_LENGTH": ("delete_for_length", "one label", _label),
    "QUOTE_LABEL": ("quotes", "one label", _label),
    "EQ_LABEL": ("equal_labels", "two labels", _pair),
    "EQ_WORD": ("equal_words", "two words", _pair),
}
