"""Verb phrases. Each class is a rule of the synchronous grammar; its methods are the two sides of the rule.

In English the complements follow the verb; in German their position depends on the topological field.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from . import german
from .phrase_tree import PhraseTree, tree
from .phrases import NounPhrase, PrepositionalPhrase, english_adjective
from .words import Adjective, Adverbial, Preposition, Verb

Voice = Literal["active", "passive"]

BE = Verb("be", "was", "been", "", "sein", "ist", "war", "gewesen", "", "sein", (), frozenset({"state"}))
_BY = Preposition("by", "von", "dative")
# The objects of these particles form prepositional phrases. Other particles follow a pronoun ("turn it off").
_PREPOSITIONS = {"for": "IN", "to": "TO", "with": "IN"}


@dataclass
class Fields:
    """The parts of a predicate by their position in the German clause.

    Args:
        first: a relative or interrogative phrase, at the beginning
        light: pronouns, directly after the subject
        full: other objects, after the adverbs of time
        low: prepositional objects, goals and predicatives, which follow "nicht"
        tail: clauses, after the verbs
        negated: true if "kein" negates the clause
    """

    first: list[str] = field(default_factory=list)
    light: list[str] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    low: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    negated: bool = False

    def add(
        self, phrase: NounPhrase, case: Literal["accusative", "dative"], *, negative: bool = False
    ) -> None:
        """Add an object to its position."""
        negated = negative and phrase.indefinite
        words = phrase.german(case, negative=negated)
        place = self.first if phrase.moved else self.light if phrase.pronominal else self.full
        place += words
        self.tail += phrase.tail()
        self.negated |= negated


class Predicate(ABC):
    """A verb and its complements."""

    verb: Verb
    voice: Voice = "active"

    @property
    def moved(self) -> PhraseTree | None:
        """The relative or interrogative complement, which begins an English clause."""
        return None

    @abstractmethod
    def english(self) -> list[PhraseTree]:
        """Return the English complements, in order."""

    @abstractmethod
    def german(self, *, negative: bool) -> Fields:
        """Return the German complements by position."""


def _moved(*phrases: NounPhrase) -> PhraseTree | None:
    return next((phrase.english() for phrase in phrases if phrase.moved), None)


def _unmoved(phrase: NounPhrase) -> PhraseTree | None:
    return None if phrase.moved else phrase.english()


def _trees(*trees: PhraseTree | None) -> list[PhraseTree]:
    return [each for each in trees if each is not None]


def _particle(verb: Verb) -> PhraseTree | None:
    if not verb.particle:
        return None
    label, tag = {"asleep": ("ADJP", "JJ"), "along": ("ADVP", "RB"), "back": ("ADVP", "RB")}.get(
        verb.particle, ("PRT", "RP")
    )
    return tree(label, tree(tag, verb.particle))


def _object(verb: Verb, phrase: NounPhrase) -> list[PhraseTree]:
    if verb.particle in _PREPOSITIONS:
        return [tree("PP", *_trees(tree(_PREPOSITIONS[verb.particle], verb.particle), _unmoved(phrase)))]
    if phrase.pronominal or verb.particle == "along":
        return _trees(_unmoved(phrase), _particle(verb))
    return _trees(_particle(verb), _unmoved(phrase))


@dataclass(frozen=True)
class Intransitive(Predicate):
    """A verb without complements: "gets up", "steht auf"."""

    verb: Verb

    def english(self) -> list[PhraseTree]:
        """Return the particle."""
        return _trees(_particle(self.verb))

    def german(self, *, negative: bool) -> Fields:
        """Return no words: the prefix belongs to the verb."""
        return Fields()


@dataclass(frozen=True)
class Transitive(Predicate):
    """A verb with an object in the accusative."""

    verb: Verb
    object: NounPhrase

    @property
    def moved(self) -> PhraseTree | None:
        """The object, if it is relative or interrogative."""
        return _moved(self.object)

    def english(self) -> list[PhraseTree]:
        """Return the object and the particle."""
        return _object(self.verb, self.object)

    def german(self, *, negative: bool) -> Fields:
        """Return the object."""
        fields = Fields()
        fields.add(self.object, "accusative", negative=negative)
        return fields


@dataclass(frozen=True)
class Dative(Predicate):
    """A verb whose German object is in the dative: "helps him", "hilft ihm"."""

    verb: Verb
    object: NounPhrase

    @property
    def moved(self) -> PhraseTree | None:
        """The object, if it is relative or interrogative."""
        return _moved(self.object)

    def english(self) -> list[PhraseTree]:
        """Return the object and the particle."""
        return _object(self.verb, self.object)

    def german(self, *, negative: bool) -> Fields:
        """Return the object."""
        fields = Fields()
        fields.add(self.object, "dative")
        return fields


@dataclass(frozen=True)
class Ditransitive(Predicate):
    """A verb with a recipient and an object; of two German pronouns the accusative comes first."""

    verb: Verb
    recipient: NounPhrase
    object: NounPhrase

    @property
    def moved(self) -> PhraseTree | None:
        """The object or the recipient, if it is relative or interrogative."""
        return _moved(self.recipient, self.object)

    def english(self) -> list[PhraseTree]:
        """Return the recipient and the object; a recipient after a pronoun takes "to"."""
        if self.object.pronominal:
            return [self.object.english(), tree("PP", tree("TO", "to"), self.recipient.english())]
        return _trees(_unmoved(self.recipient), _unmoved(self.object))

    def german(self, *, negative: bool) -> Fields:
        """Return the recipient and the object."""
        fields = Fields()
        if self.object.pronominal:
            fields.add(self.object, "accusative")
            fields.add(self.recipient, "dative")
        else:
            fields.add(self.recipient, "dative")
            fields.add(self.object, "accusative", negative=negative)
        return fields


@dataclass(frozen=True)
class Prepositional(Predicate):
    """A verb with a phrase that it requires: a prepositional object, a goal or a place."""

    verb: Verb
    phrase: PrepositionalPhrase | Adverbial

    @property
    def moved(self) -> PhraseTree | None:
        """The noun phrase, if it is relative or interrogative; English strands the preposition."""
        return _moved(self.phrase.phrase) if isinstance(self.phrase, PrepositionalPhrase) else None

    def english(self) -> list[PhraseTree]:
        """Return the phrase."""
        return [english_adjunct(self.phrase)]

    def german(self, *, negative: bool) -> Fields:
        """Return the phrase; a relative or interrogative phrase begins the clause with its preposition."""
        words = german_adjunct(self.phrase)
        if isinstance(self.phrase, PrepositionalPhrase) and self.phrase.phrase.moved:
            return Fields(first=words)
        return Fields(low=words)


@dataclass(frozen=True)
class Putting(Predicate):
    """A verb with an object and its goal: "puts the book on the table"."""

    verb: Verb
    object: NounPhrase
    goal: PrepositionalPhrase

    @property
    def moved(self) -> PhraseTree | None:
        """The object, if it is relative or interrogative."""
        return _moved(self.object)

    def english(self) -> list[PhraseTree]:
        """Return the object and the goal."""
        return [*_object(self.verb, self.object), self.goal.english()]

    def german(self, *, negative: bool) -> Fields:
        """Return the object and the goal."""
        fields = Fields(low=self.goal.german())
        fields.add(self.object, "accusative", negative=negative)
        return fields


@dataclass(frozen=True)
class Trying(Predicate):
    """A verb with an infinitive that has the same subject: "tries to sleep", "versucht, zu schlafen"."""

    verb: Verb
    inner: Predicate

    def english(self) -> list[PhraseTree]:
        """Return the infinitive."""
        verb = tree("VP", tree("VB", self.inner.verb.english), *self.inner.english())
        return [tree("S", tree("VP", tree("TO", "to"), verb))]

    def german(self, *, negative: bool) -> Fields:
        """Return the infinitive clause with "zu", which follows the verbs."""
        inner = self.inner.german(negative=False)
        words = [
            *inner.light,
            *inner.full,
            *inner.low,
            german.infinitive(self.inner.verb, zu=True),
            *inner.tail,
        ]
        return Fields(tail=[",", *words, ","])


@dataclass(frozen=True)
class Being(Predicate):
    """The copula and an adjective."""

    adjective: Adjective
    verb = BE

    def english(self) -> list[PhraseTree]:
        """Return phrases such as (ADJP (JJ tired))."""
        return [tree("ADJP", *english_adjective(self.adjective, 0))]

    def german(self, *, negative: bool) -> Fields:
        """Return words such as "müde"."""
        return Fields(low=[self.adjective.german[0]])


@dataclass(frozen=True)
class Compared(Predicate):
    """The copula, an adjective and a standard of comparison."""

    adjective: Adjective
    equal: bool
    standard: NounPhrase
    verb = BE

    def english(self) -> list[PhraseTree]:
        """Return phrases such as "older than the house", "as old as the house"."""
        standard = self.standard.english(subject=False)
        if self.equal:
            phrase = tree("PP", tree("IN", "as"), standard)
            return [tree("ADJP", tree("RB", "as"), *english_adjective(self.adjective, 0), phrase)]
        phrase = tree("PP", tree("IN", "than"), standard)
        return [tree("ADJP", *english_adjective(self.adjective, 1), phrase)]

    def german(self, *, negative: bool) -> Fields:
        """Return words such as "älter als das Haus", "so alt wie das Haus".

        The standard follows the verbs.
        """
        standard = self.standard.german("nominative")
        if self.equal:
            return Fields(low=["so", self.adjective.german[0]], tail=["wie", *standard])
        return Fields(low=[self.adjective.german[1]], tail=["als", *standard])


@dataclass(frozen=True)
class BeingOne(Predicate):
    """The copula and a noun phrase in the nominative."""

    phrase: NounPhrase
    verb = BE

    def english(self) -> list[PhraseTree]:
        """Return the noun phrase."""
        return [self.phrase.english()]

    def german(self, *, negative: bool) -> Fields:
        """Return the noun phrase."""
        negated = negative and self.phrase.indefinite
        return Fields(low=self.phrase.german("nominative", negative=negated), negated=negated)


@dataclass(frozen=True)
class Passive(Predicate):
    """A verb in the passive voice, with or without an agent."""

    verb: Verb
    agent: NounPhrase | None
    voice = "passive"

    def english(self) -> list[PhraseTree]:
        """Return the particle, and the agent with "by"."""
        agent = PrepositionalPhrase(_BY, self.agent).english() if self.agent else None
        return _trees(_particle(self.verb), agent)

    def german(self, *, negative: bool) -> Fields:
        """Return the agent with "von"."""
        return Fields(low=PrepositionalPhrase(_BY, self.agent).german()) if self.agent else Fields()


def english_adjunct(adjunct: PrepositionalPhrase | Adverbial) -> PhraseTree:
    """Return the English side of an adverbial or prepositional phrase."""
    return adjunct.english if isinstance(adjunct, Adverbial) else adjunct.english()


def german_adjunct(adjunct: PrepositionalPhrase | Adverbial) -> list[str]:
    """Return the German side of an adverbial or prepositional phrase."""
    return adjunct.german.split() if isinstance(adjunct, Adverbial) else adjunct.german()
