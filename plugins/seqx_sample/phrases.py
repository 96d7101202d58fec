"""Noun and prepositional phrases. Each class is a rule of the synchronous grammar.

A rule is a frozen dataclass. Its fields are the arguments of the rule, such as words of the lexicon. Its
methods are the two sides of the rule: `english` returns a tree, and `german` a list of words. German phrases
depend on the case; in English, only the forms of pronouns do.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, cast

from . import german
from .english import article
from .phrase_tree import PhraseTree, tree
from .words import Adjective, Adverbial, Case, Gender, Noun, Preposition, Sex

Degree = Literal[0, 1, 2]

_SINGULAR_SUBJECTS = {"he": "he", "she": "she", "it": "it"}
_SINGULAR_OBJECTS = {"he": "him", "she": "her", "it": "it"}
_OTHER_PRONOUNS = {  # by person and number: as subject, as object
    (1, False): ("I", "me"),
    (2, False): ("you", "you"),
    (1, True): ("we", "us"),
    (3, True): ("they", "them"),
}

# English word and tag, German stem, and declension of a following adjective. Numbers have no stem here,
# because they do not decline.
DETERMINERS: dict[str, tuple[str, str, str, german.Declension]] = {
    "the": ("the", "DT", "der", "weak"),
    "a": ("a", "DT", "ein", "mixed"),
    "bare": ("", "", "", "strong"),
    "this": ("this", "DT", "dies", "weak"),
    "every": ("every", "DT", "jed", "weak"),
    "all": ("all", "DT", "all", "weak"),
    "no": ("no", "DT", "kein", "mixed"),
    "which": ("which", "WDT", "welch", "weak"),
    "many": ("many", "JJ", "viel", "strong"),
    "some": ("some", "DT", "einig", "strong"),
    "my": ("my", "PRP$", "mein", "mixed"),
    "your": ("your", "PRP$", "dein", "mixed"),
    "his": ("his", "PRP$", "sein", "mixed"),
    "her": ("her", "PRP$", "ihr", "mixed"),
    "our": ("our", "PRP$", "unser", "mixed"),
    "their": ("their", "PRP$", "ihr", "mixed"),
    "two": ("two", "CD", "", "strong"),
    "three": ("three", "CD", "", "strong"),
    "four": ("four", "CD", "", "strong"),
    "five": ("five", "CD", "", "strong"),
    "six": ("six", "CD", "", "strong"),
    "ten": ("ten", "CD", "", "strong"),
    "twelve": ("twelve", "CD", "", "strong"),
}
_NUMBERS = {
    "two": "zwei",
    "three": "drei",
    "four": "vier",
    "five": "fünf",
    "six": "sechs",
    "ten": "zehn",
    "twelve": "zwölf",
}


class NounPhrase(ABC):
    """A noun phrase, which can be a subject or an object."""

    person: int = 3
    plural: bool
    gender: Gender
    pronominal: bool = False  # a personal pronoun
    moved: bool = False  # a relative or interrogative phrase, which begins its clause
    indefinite: bool = False  # a phrase that "kein" negates
    contracts: bool = False  # a phrase whose article may merge with a preposition ("im")

    @abstractmethod
    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return the tree of the English side."""

    @abstractmethod
    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return the words of the German side, without its `tail`."""

    def tail(self) -> list[str]:
        """Return the words that may move to the end of the clause: a relative clause with its commas."""
        return []


@dataclass(frozen=True)
class Pronoun(NounPhrase):
    """A personal pronoun; "it" has the gender of the German noun that it replaces."""

    person: int = 3
    plural: bool = False
    sex: Sex = "it"
    gender: Gender = "n"
    pronominal = True

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (PRP him))."""
        if self.person == 3 and not self.plural:
            return tree("NP", tree("PRP", (_SINGULAR_SUBJECTS if subject else _SINGULAR_OBJECTS)[self.sex]))
        return tree("NP", tree("PRP", _OTHER_PRONOUNS[self.person, self.plural][0 if subject else 1]))

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "ihn"."""
        return [german.pronoun(self.person, case, self.gender, plural=self.plural)]


@dataclass(frozen=True)
class Name(NounPhrase):
    """A person's name."""

    noun: Noun
    plural = False

    @property
    def gender(self) -> Gender:  # type: ignore[override]
        """The gender of the person."""
        return self.noun.gender

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (NNP Anna))."""
        return tree("NP", tree("NNP", self.noun.english))

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "Anna", "Annas"."""
        return [self.noun.german + ("s" if case == "genitive" else "")]


@dataclass(frozen=True)
class Common(NounPhrase):
    """A determiner, optionally an adjective in one of three degrees, and a noun."""

    determiner: str
    adjective: Adjective | None
    degree: Degree
    noun: Noun
    plural: bool
    contracts = True

    @property
    def gender(self) -> Gender:  # type: ignore[override]
        """The gender of the noun."""
        return self.noun.gender

    @property
    def indefinite(self) -> bool:  # type: ignore[override]
        """True if "kein" negates the phrase."""
        return self.determiner in {"a", "bare"}

    def english_words(self) -> list[PhraseTree]:
        """Return the determiner, the adjective and the noun."""
        noun = self.noun.english_plural if self.plural else self.noun.english
        words = [tree("NNS" if self.plural else "NN", noun)]
        if self.adjective:
            words = [*english_adjective(self.adjective, self.degree), *words]
        word, tag, _, _ = DETERMINERS[self.determiner]
        if word == "a":
            word = article(words[0].leaves()[0])
        if word == "this" and self.plural:
            word = "these"
        return [tree(tag, word), *words] if word else words

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (DT a) (JJ big) (NN dog))."""
        return tree("NP", *self.english_words())

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "ein großer Hund"."""
        words = []
        _, _, stem, declension = DETERMINERS["no" if negative and self.indefinite else self.determiner]
        if self.determiner in _NUMBERS:
            words.append(_NUMBERS[self.determiner])
        elif stem == "der":
            words.append(german.definite(case, self.gender, plural=self.plural))
        elif stem:
            words.append(german.determiner(stem, case, self.gender, plural=self.plural))
        if self.adjective:
            words.append(
                declined(self.adjective, self.degree, declension, case, self.gender, plural=self.plural)
            )
        return [*words, german.noun(self.noun, case, plural=self.plural)]


def english_adjective(adjective: Adjective, degree: int) -> list[PhraseTree]:
    """Return an adjective in its degree; "more" and "most" are separate words."""
    more, _, word = adjective.english[degree].rpartition(" ")
    if more:
        return [tree(("", "RBR", "RBS")[degree], more), tree("JJ", word)]
    return [tree(("JJ", "JJR", "JJS")[degree], word)]


def declined(
    adjective: Adjective,
    degree: int,
    declension: german.Declension,
    case: Case,
    gender: Gender,
    *,
    plural: bool,
) -> str:
    """Return an adjective before its noun."""
    stem = german.attributive(adjective.german[0]) if degree == 0 else adjective.german[degree]
    return stem + german.adjective_ending(declension, case, gender, plural=plural)


@dataclass(frozen=True)
class CoordinatedNounPhrase(NounPhrase):
    """Two phrases joined by "and"."""

    first: NounPhrase
    second: NounPhrase
    plural = True
    gender = "m"

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (NP (NNP Anna)) (CC and) (NP (NNP Peter)))."""
        return tree(
            "NP", self.first.english(subject=subject), tree("CC", "and"), self.second.english(subject=subject)
        )

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "Anna und Peter"."""
        return [*self.first.german(case), "und", *self.second.german(case)]


@dataclass(frozen=True)
class Owned(NounPhrase):
    """A noun phrase with its owner. German names precede the noun ("Annas Auto"); other owners follow it."""

    owner: NounPhrase
    thing: Common
    contracts = True

    @property
    def plural(self) -> bool:  # type: ignore[override]
        """The number of the possessed noun."""
        return self.thing.plural

    @property
    def gender(self) -> Gender:  # type: ignore[override]
        """The gender of the possessed noun."""
        return self.thing.gender

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (NP (DT the) (NN teacher) (POS 's)) (NN car))."""
        owner = self.owner.english()
        return tree("NP", tree("NP", *owner.children, tree("POS", "'s")), *self.thing.english_words())

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "Annas Auto", "das Auto des Lehrers"."""
        thing, owner = self.thing, self.owner.german("genitive")
        if isinstance(self.owner, Name):
            return [*owner, *thing.german(case)]
        definite = Common("the", thing.adjective, thing.degree, thing.noun, thing.plural)
        return [*definite.german(case), *owner]


@dataclass(frozen=True)
class Placed(NounPhrase):
    """A noun phrase with its place: "the dog in the garden"."""

    head: Common
    place: "PrepositionalPhrase"
    contracts = True

    @property
    def plural(self) -> bool:  # type: ignore[override]
        """The number of the head."""
        return self.head.plural

    @property
    def gender(self) -> Gender:  # type: ignore[override]
        """The gender of the head."""
        return self.head.gender

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (NP the dog) (PP in the garden))."""
        return tree("NP", self.head.english(), self.place.english())

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "der Hund im Garten"."""
        return [*self.head.german(case, negative=negative), *self.place.german()]


@dataclass(frozen=True)
class RelativePronoun(NounPhrase):
    """The pronoun of a relative clause: "who" for persons as subjects, otherwise "that"."""

    gender: Gender
    plural: bool
    personal: bool
    moved = True

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (WHNP (WP who))."""
        if self.personal and subject:
            return tree("WHNP", tree("WP", "who"))
        return tree("WHNP", tree("WDT", "that"))

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "dem"."""
        return [german.relative(case, self.gender, plural=self.plural)]


@dataclass(frozen=True)
class Interrogative(NounPhrase):
    """The pronouns "who" and "what"."""

    personal: bool
    plural = False
    gender = "m"
    moved = True

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (WHNP (WP who))."""
        return tree("WHNP", tree("WP", "who" if self.personal else "what"))

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "wem"."""
        if not self.personal:
            return ["was"]
        return [{"nominative": "wer", "accusative": "wen", "dative": "wem"}[cast("str", case)]]


@dataclass(frozen=True)
class WhichOne(NounPhrase):
    """The determiner "which" and a noun."""

    phrase: Common
    moved = True

    @property
    def plural(self) -> bool:  # type: ignore[override]
        """The number of the noun."""
        return self.phrase.plural

    @property
    def gender(self) -> Gender:  # type: ignore[override]
        """The gender of the noun."""
        return self.phrase.gender

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (WHNP (WDT which) (NN book))."""
        return tree("WHNP", *self.phrase.english_words())

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "welches Buch"."""
        return self.phrase.german(case)


@dataclass(frozen=True)
class PrepositionalPhrase:
    """A preposition and its noun phrase; German merges some prepositions with the definite article."""

    preposition: Preposition
    phrase: NounPhrase

    def english(self) -> PhraseTree:
        """Return a tree such as (PP (IN in) (NP (DT the) (NN garden))).

        If the noun phrase has moved to the front, only the preposition is left.
        """
        phrase = None if self.phrase.moved else self.phrase.english()
        match self.preposition.english:
            case "out of":
                return tree("PP", tree("IN", "out"), tree("PP", tree("IN", "of"), phrase))
            case "in front of":
                front = tree("NP", tree("NN", "front"))
                return tree("PP", tree("IN", "in"), tree("NP", front, tree("PP", tree("IN", "of"), phrase)))
            case "next to":
                return tree("ADVP", tree("JJ", "next"), tree("PP", tree("TO", "to"), phrase))
            case word:
                return tree("PP", tree("TO" if word == "to" else "IN", word), phrase)

    def german(self) -> list[str]:
        """Return words such as "im Garten"."""
        words = self.phrase.german(self.preposition.case)
        if not self.phrase.contracts:
            return [self.preposition.german, *words]
        return [*german.contract(self.preposition.german, words[0]).split(), *words[1:]]


Adjunct = PrepositionalPhrase | Adverbial
