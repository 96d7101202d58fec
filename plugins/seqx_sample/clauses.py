"""The clause: subject, predicate, tense, negation and adverbials, ordered for both languages.

English has one order of words, and uses "do" in questions and negations. In German, the finite verb is in
second, first or last position. Topological fields order the words between it and the other verbs.
"""

from dataclasses import dataclass
from typing import Literal

from .phrase_tree import PhraseTree, tree
from .phrases import NounPhrase, PrepositionalPhrase
from .predicates import Fields, Predicate, english_adjunct, german_adjunct
from .verbs import Tagged, Tense, english_verbs, german_verbs
from .words import Adverbial, Case, Gender, Verb

Order = Literal["second", "first", "final"]


@dataclass(frozen=True)
class Clause:
    """A clause without conjunction and punctuation."""

    subject: NounPhrase
    predicate: Predicate
    tense: Tense
    negated: bool = False
    frequency: Adverbial | None = None
    manner: Adverbial | None = None
    place: Adverbial | PrepositionalPhrase | None = None
    time: Adverbial | PrepositionalPhrase | None = None

    def _verbs(self, *, support: bool) -> list[Tagged]:
        predicate, subject = self.predicate, self.subject
        passive = predicate.voice == "passive"
        return english_verbs(
            predicate.verb,
            self.tense,
            subject.person,
            plural=subject.plural,
            passive=passive,
            support=support or self.negated,
        )

    def _rest(self) -> list[PhraseTree]:
        adjuncts = (self.manner, self.place, self.time)
        return [*self.predicate.english(), *(english_adjunct(each) for each in adjuncts if each)]

    def _after_auxiliary(self) -> list[PhraseTree]:
        frequency = [self.frequency.english] if self.frequency else []
        return ([tree("RB", "not")] if self.negated else []) + frequency

    def english_predicate(self) -> list[PhraseTree]:
        """Return the part after the subject: (ADVP (RB often)) (VP ...)."""
        verbs, rest, adverbs = self._verbs(support=False), self._rest(), self._after_auxiliary()
        lexical = len(verbs) == 1 and self.predicate.verb.english != "be"
        if lexical or (len(verbs) > 1 and verbs[1][0] == "TO"):
            return [*adverbs, _verb_phrase(verbs, [], rest)]
        return [_verb_phrase(verbs, adverbs, rest)]

    def english(self, *front: PhraseTree) -> PhraseTree:
        """Return a tree such as (S ... (NP ...) (VP ...))."""
        return tree("S", *front, self.subject.english(subject=True), *self.english_predicate())

    def english_question(self) -> PhraseTree:
        """Return a question such as (SQ (VBZ does) (NP ...) (VP ...)).

        The verb precedes the subject, unless the subject is the question word.
        """
        if self.subject.moved:
            return tree("SQ", *self.english_predicate())
        (tag, word), *verbs = self._verbs(support=True)
        first, subject, rest = tree(tag, word), self.subject.english(subject=True), self._rest()
        if not verbs:
            return tree("SQ", first, subject, *self._after_auxiliary(), *rest)
        return tree("SQ", first, subject, *self._after_auxiliary(), _verb_phrase(verbs, [], rest))

    def english_moved(self) -> PhraseTree | None:
        """Return the relative or interrogative phrase: (WHNP (WP who))."""
        return self.subject.english(subject=True) if self.subject.moved else self.predicate.moved

    def english_relative(self) -> PhraseTree:
        """Return a tree such as (SBAR (WHNP (WP who)) (S (VP ...)))."""
        if self.subject.moved:
            return tree("SBAR", self.english_moved(), tree("S", *self.english_predicate()))
        return tree("SBAR", self.english_moved(), self.english())

    def german(self, order: Order, *, front: list[str] | None = None, elided: bool = False) -> list[str]:
        """Return the German words in one of the three orders.

        Args:
            order: position of the finite verb
            front: words before a verb in second position, if they are not the subject
            elided: omit the subject, as after "und"
        """
        predicate, subject = self.predicate, self.subject
        fields = predicate.german(negative=self.negated)
        passive = predicate.voice == "passive"
        finite, prefix, verbs = german_verbs(
            predicate.verb, self.tense, subject.person, plural=subject.plural, passive=passive
        )
        nominative = [] if elided else [*subject.german("nominative"), *subject.tail()]
        first = nominative if subject.moved else (front or fields.first)
        middle = [
            *([] if subject.moved else nominative),
            *fields.light,
            *_words(self.time),
            *_words(self.frequency),
            *_words(self.place),
            *fields.full,
            *(["nicht"] if self.negated and not fields.negated else []),
            *_words(self.manner),
            *fields.low,
        ]
        if order == "final":
            return [*first, *middle, *verbs, prefix + finite, *fields.tail]
        end = [*verbs, *([prefix] if prefix else []), *fields.tail]
        if order == "second" and not first:
            return [*nominative, finite, *middle[len(nominative) :], *end]
        return [*first, finite, *middle, *end]


@dataclass(frozen=True)
class WithRelativeClause(NounPhrase):
    """A noun phrase with a relative clause. In the clause, a RelativePronoun stands for the noun phrase."""

    head: NounPhrase
    clause: Clause
    contracts = True

    @property
    def plural(self) -> bool:  # type: ignore[override]
        """The number of the head."""
        return self.head.plural

    @property
    def gender(self) -> Gender:  # type: ignore[override]
        """The gender of the head."""
        return self.head.gender

    @property
    def indefinite(self) -> bool:  # type: ignore[override]
        """True if "kein" negates the phrase."""
        return self.head.indefinite

    def english(self, *, subject: bool = False) -> PhraseTree:
        """Return a tree such as (NP (NP the man) (SBAR (WHNP (WP who)) (S (VP sleeps))))."""
        return tree("NP", self.head.english(), self.clause.english_relative())

    def german(self, case: Case, *, negative: bool = False) -> list[str]:
        """Return words such as "der Mann"; the relative clause is its `tail`."""
        return self.head.german(case, negative=negative)

    def tail(self) -> list[str]:
        """Return the relative clause with its commas, such as ", der schläft,"."""
        return [",", *self.clause.german("final"), ","]


@dataclass(frozen=True)
class Saying(Predicate):
    """A verb with a clause as its object: "knows that he sleeps"."""

    verb: Verb
    conjunction: Literal["that", "whether"]
    clause: Clause

    def english(self) -> list[PhraseTree]:
        """Return the clause."""
        return [tree("SBAR", tree("IN", self.conjunction), self.clause.english())]

    def german(self, *, negative: bool) -> Fields:
        """Return the clause with its verb last; it follows the verbs of the main clause."""
        conjunction = {"that": "dass", "whether": "ob"}[self.conjunction]
        return Fields(tail=[",", conjunction, *self.clause.german("final"), ","])


def _words(adjunct: Adverbial | PrepositionalPhrase | None) -> list[str]:
    return german_adjunct(adjunct) if adjunct else []


def _verb_phrase(verbs: list[Tagged], adverbs: list[PhraseTree], rest: list[PhraseTree]) -> PhraseTree:
    """Nest the verbs from left to right: (VP (MD will) (RB not) (VP (VB sleep)))."""
    (tag, word), *others = verbs
    if not others:
        return tree("VP", tree(tag, word), *adverbs, *rest)
    inner = _verb_phrase(others, [], rest)
    return tree("VP", tree(tag, word), *adverbs, tree("S", inner) if others[0][0] == "TO" else inner)
