"""Derive a question about a sentence, and the answer to it, from the derivation of the sentence."""

from dataclasses import replace

from .clauses import Clause
from .gist import head, main_clause, without_modifiers
from .phrase_tree import PhraseTree, detokenize
from .phrases import Common, CoordinatedNounPhrase, Interrogative, Name, NounPhrase, Owned, Pronoun
from .predicates import english_adjunct
from .sentences import AdverbQuestion, Existence, Imperative, Sentence, WhQuestion

UNKNOWN = "unknown"
"""The answer for sentences that are questions themselves."""


def question_and_answer(sentence: Sentence) -> tuple[str, str]:
    """Return a question (when, where, who or what) that the main clause answers, and its answer."""
    match sentence:
        case Existence():
            return "What is there?", _text(sentence.phrase.english())
        case Imperative():
            return "What shall one do?", " ".join(_text(sentence.english())[:-1].split()[1:])
    clause = main_clause(sentence)
    assert clause is not None, "all other sentences have a main clause"
    plain = without_modifiers(clause)
    if clause.english_moved() is None and not isinstance(sentence, AdverbQuestion):
        for word, adjunct in (("when", clause.time), ("where", clause.place)):
            if adjunct is not None:
                return _text(AdverbQuestion(word, plain).english()), _text(english_adjunct(adjunct))
    return _question_about_subject(plain)


def _question_about_subject(clause: Clause) -> tuple[str, str]:
    if clause.english_moved() is not None:
        return _text(WhQuestion(clause).english()), UNKNOWN
    who = Interrogative(personal=_is_personal(clause.subject))
    question = WhQuestion(replace(clause, subject=who))
    return _text(question.english()), _text(clause.subject.english(subject=True))


def _is_personal(phrase: NounPhrase) -> bool:
    """Return true if the question word is "who", not "what"."""
    match phrase:
        case Name():
            return True
        case Pronoun():
            return phrase.plural or phrase.person < 3 or phrase.sex != "it"
        case Common():
            return "person" in phrase.noun.classes
        case CoordinatedNounPhrase():
            return _is_personal(head(phrase.first))
        case Owned():
            return _is_personal(phrase.thing)
        case _:
            return False


def _text(tree: PhraseTree) -> str:
    return detokenize(tree.leaves())
