"""Derive a question about a sentence and its answer from the derivation."""

from dataclasses import replace

from .clauses import Clause
from .gist import bare, head, main_clause
from .phrase_tree import PhraseTree, detokenize
from .phrases import Common, CoordinatedNounPhrase, Interrogative, Name, NounPhrase, Owned, Pronoun
from .predicates import english_adjunct
from .sentences import AdverbQuestion, Existence, Imperative, Sentence, WhQuestion

UNKNOWN = "unknown"
"""The answer for sentences that are questions themselves."""


def asked(sentence: Sentence) -> tuple[str, str]:
    """Return a question for when, where or who that the main clause answers, and its answer."""
    match sentence:
        case Existence():
            return "What is there?", _said(sentence.phrase.english())
        case Imperative():
            return "What shall one do?", " ".join(_said(sentence.english())[:-1].split()[1:])
    clause = main_clause(sentence)
    assert clause is not None, "all others have one"
    plain = bare(clause)
    if clause.english_moved() is None and not isinstance(sentence, AdverbQuestion):
        for word, adjunct in (("when", clause.time), ("where", clause.place)):
            if adjunct is not None:
                return _said(AdverbQuestion(word, plain).english()), _said(english_adjunct(adjunct))
    return _who(plain)


def _who(clause: Clause) -> tuple[str, str]:
    if clause.english_moved() is not None:
        return _said(WhQuestion(clause).english()), UNKNOWN
    who = Interrogative(personal=_personal(clause.subject))
    question = WhQuestion(replace(clause, subject=who))
    return _said(question.english()), _said(clause.subject.english(subject=True))


def _personal(phrase: NounPhrase) -> bool:
    """Return true if the question word is "who", not "what"."""
    match phrase:
        case Name():
            return True
        case Pronoun():
            return phrase.plural or phrase.person < 3 or phrase.sex != "it"
        case Common():
            return "person" in phrase.noun.classes
        case CoordinatedNounPhrase():
            return _personal(head(phrase.first))
        case Owned():
            return _personal(phrase.thing)
        case _:
            return False


def _said(tree: PhraseTree) -> str:
    return detokenize(tree.leaves())
