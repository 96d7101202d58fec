"""Derive a short version of a sentence and its tense from its derivation."""

from dataclasses import replace

from .clauses import Clause, WithRelativeClause
from .phrases import NounPhrase, Placed
from .predicates import Predicate
from .sentences import (
    AdverbQuestion,
    Chained,
    Existence,
    Fronted,
    Imperative,
    Joined,
    Preposed,
    Sentence,
    Statement,
    Subordinated,
    WhQuestion,
    YesNo,
)


def main_clause(sentence: Sentence) -> Clause | None:
    """Return the first main clause; None for requests and for sentences with "there is"."""
    match sentence:
        case Subordinated() | Preposed():
            return sentence.main
        case Joined() | Chained():
            return sentence.first
        case Statement() | Fronted() | YesNo() | WhQuestion() | AdverbQuestion():
            return sentence.clause
        case _:
            return None


def tense(sentence: Sentence) -> str:
    """Return the tense or modal verb of the main clause, or "request"."""
    clause = main_clause(sentence)
    if clause is not None:
        return clause.tense
    return sentence.tense if isinstance(sentence, Existence) else "request"


def gist(sentence: Sentence) -> Sentence:
    """Return the main clause without adverbials, relative clauses and prepositional phrases of nouns."""
    match sentence:
        case YesNo() | WhQuestion() | AdverbQuestion():
            return replace(sentence, clause=without_modifiers(sentence.clause))
        case Imperative():
            return Imperative(_predicate(sentence.predicate))
        case Existence():
            return replace(sentence, phrase=head(sentence.phrase))
    clause = main_clause(sentence)
    assert clause is not None, "all other sentences have a main clause"
    return Statement(without_modifiers(clause))


def without_modifiers(clause: Clause) -> Clause:
    """Return a clause without adverbials, relative clauses and prepositional phrases of nouns."""
    return replace(
        clause,
        subject=head(clause.subject),
        predicate=_predicate(clause.predicate),
        frequency=None,
        manner=None,
        place=None,
        time=None,
    )


def _predicate(predicate: Predicate) -> Predicate:
    fields = getattr(predicate, "__dataclass_fields__", ())
    values = {name: getattr(predicate, name) for name in fields}
    phrases = {name: head(value) for name, value in values.items() if isinstance(value, NounPhrase)}
    return replace(predicate, **phrases)  # type: ignore[type-var]


def head(phrase: NounPhrase) -> NounPhrase:
    """Return a noun phrase without its relative clauses and its prepositional phrase."""
    return head(phrase.head) if isinstance(phrase, Placed | WithRelativeClause) else phrase
