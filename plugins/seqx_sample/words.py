"""The parts of speech of the sample. Each word has an English and a German side."""

from dataclasses import dataclass
from typing import Literal

from .phrase_tree import PhraseTree

Sex = Literal["he", "she", "it"]
Gender = Literal["m", "f", "n"]
Case = Literal["nominative", "accusative", "dative", "genitive"]


@dataclass(frozen=True)
class Noun:
    """A noun or a name; `gender` is the German one, and `sex` determines the English pronoun."""

    english: str
    english_plural: str
    german: str
    german_plural: str
    gender: Gender
    classes: frozenset[str]
    sex: Sex | None
    weak: bool = False
    genitive: str = ""

    @property
    def lemma(self) -> str:
        """A name of the word, shared by both languages."""
        return f"{self.english}/n"

    @property
    def mass(self) -> bool:
        """True if the noun has no plural."""
        return not self.german_plural


@dataclass(frozen=True)
class Adjective:
    """An adjective with its three degrees in both languages."""

    english: tuple[str, str, str]
    german: tuple[str, str, str]
    classes: frozenset[str]

    @property
    def lemma(self) -> str:
        """A name of the word, shared by both languages."""
        return f"{self.english[0]}/a"


@dataclass(frozen=True)
class Preposition:
    """A pair of prepositions and the case of the German one."""

    english: str
    german: str
    case: Case

    @property
    def lemma(self) -> str:
        """A name of the word, shared by both languages."""
        return f"{self.english}/{self.german}/{self.case}"


@dataclass(frozen=True)
class Frame:
    """A frame of a verb: its kind (verbs.txt lists them), the classes of its arguments, and a preposition."""

    kind: str
    subject: frozenset[str]
    objects: tuple[frozenset[str], ...] = ()
    preposition: Preposition | None = None


@dataclass(frozen=True)
class Verb:
    """A verb: principal parts in both languages, particle and separable prefix, frames."""

    english: str
    english_past: str
    english_participle: str
    particle: str
    german: str
    german_third: str
    german_past: str
    german_participle: str
    prefix: str
    auxiliary: Literal["haben", "sein"]
    frames: tuple[Frame, ...]
    manners: frozenset[str]

    @property
    def lemma(self) -> str:
        """A name of the word, shared by both languages."""
        return f"{self.english}+{self.particle}/v"

    @property
    def stative(self) -> bool:
        """True if English does not use the verb in the progressive."""
        return "state" in self.manners


@dataclass(frozen=True)
class Adverbial:
    """An adverb or a fixed phrase such as "every day"."""

    kind: str
    english: PhraseTree
    german: str
    uses: frozenset[str]

    @property
    def lemma(self) -> str:
        """A name of the word, shared by both languages."""
        return f"{self.german}/adv"


Word = Noun | Adjective | Preposition | Verb | Adverbial
