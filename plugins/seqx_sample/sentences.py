"""Sentences. Each class is a rule of the synchronous grammar; its methods are the two sides of the rule."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from . import german
from .clauses import Clause
from .phrase_tree import PhraseTree, tree
from .phrases import NounPhrase, PrepositionalPhrase
from .predicates import Predicate, Transitive, english_adjunct, german_adjunct
from .verbs import Tense
from .words import Adverbial, Verb

SUBORDINATORS = {
    "because": "weil",
    "although": "obwohl",
    "if": "wenn",
    "when": "als",
    "while": "während",
    "before": "bevor",
    "after": "nachdem",
}
COORDINATORS = {"and": ["und"], "but": [",", "aber"]}
QUESTIONS = {"where": "wo", "when": "wann", "why": "warum"}

# "There is" is "es gibt" in German, a form of "geben".
_EXIST = Verb("be", "was", "been", "", "geben", "gibt", "gab", "gegeben", "", "haben", (), frozenset())


class Sentence(ABC):
    """A sentence. Its English tree contains all tokens, including punctuation."""

    @abstractmethod
    def english(self) -> PhraseTree:
        """Return the tree of the English side."""

    @abstractmethod
    def german(self) -> list[str]:
        """Return the words of the German side."""


def _close(sentence: PhraseTree, mark: Literal[".", "?"] = ".") -> PhraseTree:
    """Return the tree with a capital at its first leaf and the punctuation mark at the end."""
    first, *others = sentence.children
    assert isinstance(first, PhraseTree)
    return tree("TOP", tree(sentence.label, _capital(first), *others, tree(".", mark)))


def _capital(part: PhraseTree) -> PhraseTree:
    first, *others = part.children
    return PhraseTree(
        part.label, (first[0].upper() + first[1:] if isinstance(first, str) else _capital(first), *others)
    )


def _question_phrase(moved: PhraseTree | None, question: PhraseTree) -> PhraseTree:
    return _close(tree("SBARQ", moved, question), "?")


def _subordinate_clause(conjunction: str, clause: Clause) -> PhraseTree:
    word = tree("IN", conjunction)
    if conjunction == "when":
        word = tree("WHADVP", tree("WRB", conjunction))
    return tree("SBAR", word, clause.english())


@dataclass(frozen=True)
class Statement(Sentence):
    """A statement of one main clause."""

    clause: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (S (NP ...) (VP ...) (. .))."""
        return _close(self.clause.english())

    def german(self) -> list[str]:
        """Return the words, with the verb in second position."""
        return [*self.clause.german("second"), "."]


@dataclass(frozen=True)
class Fronted(Sentence):
    """A main clause that begins with an adverbial; the German subject follows the verb."""

    adverbial: Adverbial | PrepositionalPhrase
    clause: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (S (NP (NN today)) (NP ...) (VP ...) (. .))."""
        return _close(self.clause.english(english_adjunct(self.adverbial)))

    def german(self) -> list[str]:
        """Return the adverbial, the verb, the subject and the other words."""
        return [*self.clause.german("second", front=german_adjunct(self.adverbial)), "."]


@dataclass(frozen=True)
class YesNo(Sentence):
    """A yes/no question."""

    clause: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (SQ (VBZ does) (NP ...) (VP ...) (. ?))."""
        return _close(self.clause.english_question(), "?")

    def german(self) -> list[str]:
        """Return the words, with the verb in first position."""
        return [*self.clause.german("first"), "?"]


@dataclass(frozen=True)
class WhQuestion(Sentence):
    """A question about the subject or an object, which is an Interrogative or WhichOne."""

    clause: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (SBARQ (WHNP (WP who)) (SQ ...) (. ?))."""
        return _question_phrase(self.clause.english_moved(), self.clause.english_question())

    def german(self) -> list[str]:
        """Return the question word, the verb and the other words."""
        return [*self.clause.german("second"), "?"]


@dataclass(frozen=True)
class AdverbQuestion(Sentence):
    """A question about place, time or reason."""

    word: str
    clause: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (SBARQ (WHADVP (WRB where)) (SQ ...) (. ?))."""
        return _question_phrase(tree("WHADVP", tree("WRB", self.word)), self.clause.english_question())

    def german(self) -> list[str]:
        """Return the question word, the verb and the other words."""
        return [*self.clause.german("second", front=[QUESTIONS[self.word]]), "?"]


@dataclass(frozen=True)
class Subordinated(Sentence):
    """A main clause followed by a subordinate clause."""

    main: Clause
    conjunction: str
    clause: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (S (NP ...) (VP ... (SBAR (IN because) (S ...))) (. .))."""
        subject, *between, verb_phrase = self.main.english().children
        assert isinstance(verb_phrase, PhraseTree)
        subordinate = _subordinate_clause(self.conjunction, self.clause)
        return _close(tree("S", subject, *between, PhraseTree("VP", (*verb_phrase.children, subordinate))))

    def german(self) -> list[str]:
        """Return the main clause, a comma, and the subordinate clause with the verb last."""
        subordinate = [SUBORDINATORS[self.conjunction], *self.clause.german("final")]
        return [*self.main.german("second"), ",", *subordinate, "."]


@dataclass(frozen=True)
class Preposed(Sentence):
    """A subordinate clause followed by the main clause, whose German verb comes first."""

    conjunction: str
    clause: Clause
    main: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (S (SBAR (IN if) (S ...)) (, ,) (NP ...) (VP ...) (. .))."""
        return _close(self.main.english(_subordinate_clause(self.conjunction, self.clause), tree(",", ",")))

    def german(self) -> list[str]:
        """Return the subordinate clause, its verb last, a comma, and the main clause, its verb first."""
        subordinate = [SUBORDINATORS[self.conjunction], *self.clause.german("final"), ","]
        return [*subordinate, *self.main.german("first"), "."]


@dataclass(frozen=True)
class Joined(Sentence):
    """Two coordinated main clauses."""

    first: Clause
    conjunction: Literal["and", "but"]
    second: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (S (S ...) (CC and) (S ...) (. .)), with a comma before "but"."""
        comma = tree(",", ",") if self.conjunction == "but" else None
        first, second = self.first.english(), self.second.english()
        return _close(tree("S", first, comma, tree("CC", self.conjunction), second))

    def german(self) -> list[str]:
        """Return the two clauses, each with the verb in second position."""
        conjunction = COORDINATORS[self.conjunction]
        return [*self.first.german("second"), *conjunction, *self.second.german("second"), "."]


@dataclass(frozen=True)
class Chained(Sentence):
    """Two coordinated predicates of one subject."""

    first: Clause
    second: Clause

    def english(self) -> PhraseTree:
        """Return a tree such as (S (NP ...) (VP (VP ...) (CC and) (VP ...)) (. .))."""
        both = tree(
            "VP", *self.first.english_predicate(), tree("CC", "and"), *self.second.english_predicate()
        )
        return _close(tree("S", self.first.subject.english(subject=True), both))

    def german(self) -> list[str]:
        """Return the two clauses, the second without its subject."""
        return [*self.first.german("second"), "und", *self.second.german("second", elided=True), "."]


@dataclass(frozen=True)
class Imperative(Sentence):
    """A request to one person."""

    predicate: Predicate

    def english(self) -> PhraseTree:
        """Return a tree such as (S (INTJ (UH please)) (VP (VB open) ...) (. .))."""
        verb = tree("VP", tree("VB", self.predicate.verb.english), *self.predicate.english())
        return _close(tree("S", tree("INTJ", tree("UH", "please")), verb))

    def german(self) -> list[str]:
        """Return "bitte", the imperative, the complements, and the separable prefix."""
        fields, verb = self.predicate.german(negative=False), self.predicate.verb
        end = [*([verb.prefix] if verb.prefix else []), *fields.tail]
        return ["bitte", german.imperative(verb), *fields.light, *fields.full, *fields.low, *end, "."]


@dataclass(frozen=True)
class Existence(Sentence):
    """Existence of something in a place: "there is"; German begins with the place."""

    phrase: NounPhrase
    place: PrepositionalPhrase
    tense: Tense

    def english(self) -> PhraseTree:
        """Return a tree such as (S (NP (EX there)) (VP (VBZ is) (NP ...) (PP ...)) (. .))."""
        there = tree("NP", tree("EX", "there"))
        clause = Clause(self.phrase, Transitive(_EXIST, self.phrase), self.tense, place=self.place)
        return _close(tree("S", there, *clause.english_predicate()))

    def german(self) -> list[str]:
        """Return words such as "Im Garten gibt es einen Hund."."""
        place = self.place.german()
        form: german.Finite = "past" if self.tense == "past" else "present"
        words = self.phrase.german("accusative")
        return [*place, german.finite(_EXIST, form, 3, plural=False), "es", *words, "."]
