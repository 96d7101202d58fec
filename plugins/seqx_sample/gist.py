"""What a sentence says in short, and when: truths about it that the grammar knows."""

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
    """The main clause, of two the first; None where there is only a predicate, or what there is."""
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
    """The tense or modal verb of the main clause; `request` of what has neither."""
    clause = main_clause(sentence)
    if clause is not None:
        return clause.tense
    return sentence.tense if isinstance(sentence, Existence) else "request"


def gist(sentence: Sentence) -> Sentence:
    """The main clause without adverbials, relative clauses and where things are."""
    match sentence:
        case YesNo() | WhQuestion() | AdverbQuestion():
            return replace(sentence, clause=bare(sentence.clause))
        case Imperative():
            return Imperative(_predicate(sentence.predicate))
        case Existence():
            return replace(sentence, phrase=head(sentence.phrase))
    clause = main_clause(sentence)
    assert clause is not None, "all others have one"
    return Statement(bare(clause))


def bare(clause: Clause) -> Clause:
    """Without adverbials, relative clauses and where things are."""
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
    """Without relative clauses and where it is."""
    return head(phrase.head) if isinstance(phrase, Placed | WithRelativeClause) else phrase
