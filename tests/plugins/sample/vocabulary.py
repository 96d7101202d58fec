"""Short names for building derivations by hand."""

from seqx_sample.lexicon import lexicon
from seqx_sample.phrase_tree import detokenize
from seqx_sample.phrases import Common, Degree, Name, PrepositionalPhrase, Pronoun
from seqx_sample.predicates import Predicate, Prepositional, Transitive
from seqx_sample.sentences import Sentence
from seqx_sample.words import Adjective, Adverbial, Case, Noun, Preposition, Verb

WORDS = lexicon()

I = Pronoun(1, plural=False)  # noqa: E741
YOU = Pronoun(2, plural=False)
HE = Pronoun(3, plural=False, sex="he", gender="m")
SHE = Pronoun(3, plural=False, sex="she", gender="f")
WE = Pronoun(1, plural=True)
THEY = Pronoun(3, plural=True)


def it(german: str) -> Pronoun:
    """ "It", where German says "er", "sie" or "es"."""
    gender = {"er": "m", "sie": "f", "es": "n"}[german]
    return Pronoun(3, plural=False, sex="it", gender=gender)  # type: ignore[arg-type]


def noun(english: str) -> Noun:
    return next(each for each in (*WORDS.nouns, *WORDS.names) if each.english == english)


def adjective(english: str) -> Adjective:
    return next(each for each in WORDS.adjectives if each.english[0] == english)


def verb(english: str, particle: str = "") -> Verb:
    return next(each for each in WORDS.verbs if (each.english, each.particle) == (english, particle))


def adverb(german: str) -> Adverbial:
    return next(each for each in WORDS.adverbials if each.german == german)


def name(english: str) -> Name:
    return Name(noun(english))


def np(phrase: str, degree: Degree = 0) -> Common:
    """ "the big dog", "my dogs", "bare water"."""
    determiner, *rest, last = phrase.split()
    plural = next((each for each in WORDS.nouns if each.english_plural == last), None)
    head = plural or noun(last)
    return Common(determiner, adjective(rest[0]) if rest else None, degree, head, plural=plural is not None)


def preposition(english: str, german: str, case: Case = "dative") -> Preposition:
    return Preposition(english, german, case)


def does(english: str, what: str, particle: str = "") -> Predicate:
    return Transitive(verb(english, particle), np(what))


def to(english: str, before: Preposition, where: str) -> Predicate:
    return Prepositional(verb(english), PrepositionalPhrase(before, np(where)))


def both(sentence: Sentence) -> tuple[str, str]:
    return detokenize(sentence.english().leaves()), detokenize(sentence.german())
