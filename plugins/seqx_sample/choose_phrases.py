"""Choose noun phrases, and prepositional phrases of place."""

from collections.abc import Sequence
from functools import cache

from .clauses import WithRelativeClause
from .draw import Draw, adjectives, nouns
from .lexicon import lexicon
from .phrases import (
    Common,
    CoordinatedNounPhrase,
    Degree,
    Name,
    NounPhrase,
    Owned,
    Placed,
    PrepositionalPhrase,
    Pronoun,
)
from .words import Adjective, Case, Noun, Preposition

_PERSON = frozenset({"person"})
_SINGULAR = {
    "the": 45,
    "a": 26,
    "this": 7,
    "every": 2,
    "my": 5,
    "your": 4,
    "his": 4,
    "her": 4,
    "our": 3,
    "their": 3,
}
_PLURAL = {
    "the": 40,
    "bare": 18,
    "this": 7,
    "all": 5,
    "many": 7,
    "some": 6,
    "two": 4,
    "three": 4,
    "four": 2,
    "five": 2,
    "six": 2,
    "ten": 2,
    "twelve": 2,
    "my": 4,
    "your": 3,
    "his": 2,
    "our": 3,
    "their": 3,
}
_DEFINITE = {"the": 8, "this": 1, "my": 1, "your": 1, "his": 1, "her": 1, "our": 1, "their": 1}
_OWNERS = {"my", "your", "his", "her", "our", "their"}
_OWNABLE = frozenset(
    {
        "thing",
        "private",
        "furniture",
        "text",
        "song",
        "kin",
        "mine",
        "room",
        "part",
        "topic",
        "food",
        "drink",
        "mistake",
    }
)
_KIN = {"my": 4, "your": 3, "his": 3, "her": 3, "our": 3, "their": 2, "the": 1}
_PRONOUNS = (
    Pronoun(1, False),
    Pronoun(2, False),
    Pronoun(3, False, "he", "m"),
    Pronoun(3, False, "she", "f"),
    Pronoun(1, True),
    Pronoun(3, True),
)

IN = Preposition("in", "in", "dative")
ON = Preposition("on", "auf", "dative")
AT = Preposition("at", "an", "dative")
_NEARBY_PREPOSITIONS = (
    Preposition("behind", "hinter", "dative"),
    Preposition("in front of", "vor", "dative"),
    Preposition("next to", "neben", "dative"),
)
UNDER = Preposition("under", "unter", "dative")


def pronoun_for(phrase: NounPhrase) -> Pronoun | None:
    """Return the pronoun that can replace a phrase in both languages; None if there is none."""
    if isinstance(phrase, Pronoun):
        return phrase
    if phrase.plural:
        return Pronoun(3, True)
    noun = head_noun(phrase)
    return Pronoun(3, False, noun.sex, phrase.gender) if noun and noun.sex else None


def head_noun(phrase: NounPhrase) -> Noun | None:
    """Return the noun of a phrase; None if the phrase has no single noun."""
    match phrase:
        case Name(noun) | Common(noun=noun) | Owned(thing=Common(noun=noun)) | Placed(head=Common(noun=noun)):
            return noun
        case WithRelativeClause(head=inner):
            return head_noun(inner)
        case _:
            return None


def person(
    draw: Draw, *, other_than: NounPhrase | None = None, pronouns: float = 0.3, definite: bool = False
) -> NounPhrase:
    """Draw a person other than `other_than`."""
    if draw.chance(pronouns):
        allowed = [
            each
            for each in _PRONOUNS
            if other_than is None or (each.person, each.plural) != (other_than.person, other_than.plural)
        ]
        return draw.pick([each for each in allowed if not _overlap(each, other_than)])
    if draw.chance(0.22):
        name = Name(draw.pick(lexicon().names))
        if other_than != name:
            return name
    return common(draw, _PERSON, other_than=other_than, definite=definite)


def _overlap(one: Pronoun, other: NounPhrase | None) -> bool:
    """Return true if one phrase includes the other, as in "I see us"."""
    return other is not None and other.pronominal and one.person == other.person == 1


def common(
    draw: Draw,
    classes: frozenset[str],
    *,
    other_than: NounPhrase | None = None,
    definite: bool = False,
    owned: float = 0.07,
) -> Common | Owned:
    """Draw a phrase with a noun of the classes, other than the noun of `other_than`."""
    noun = draw.pick(nouns(classes))
    if other_than is not None and noun == head_noun(other_than) and len(nouns(classes)) > 1:
        return common(draw, classes, other_than=other_than, definite=definite, owned=owned)
    return phrase_of(draw, noun, definite=definite, owned=owned)


def phrase_of(draw: Draw, noun: Noun, *, definite: bool = False, owned: float = 0.07) -> Common | Owned:
    """Draw a phrase for a noun: determiner, number, optionally an adjective or an owner."""
    adjective = draw.pick(adjectives(noun)) if adjectives(noun) and draw.chance(0.3) else None
    if noun.mass:
        return Common("the" if definite or draw.chance(0.4) else "bare", adjective, 0, noun, plural=False)
    plural = draw.chance(0.27) and "one" not in noun.classes
    ownable = not noun.classes.isdisjoint(_OWNABLE)
    if ownable and draw.chance(owned):
        thing = Common("bare", adjective, 0, noun, plural)
        if draw.chance(0.5) or "kin" in noun.classes:
            return Owned(Name(draw.pick(lexicon().names)), thing)
        owner = draw.pick(nouns(_PERSON))
        return Owned(
            Common("the" if "kin" not in owner.classes else "my", None, 0, owner, plural=False), thing
        )
    determiner = draw.weighted(_determiners(noun, definite=definite, plural=plural, ownable=ownable))
    return Common(determiner, adjective, _degree(draw, determiner, adjective), noun, plural)


@cache
def _determiners(noun: Noun, *, definite: bool, plural: bool, ownable: bool) -> dict[str, int]:
    weights = _KIN if "kin" in noun.classes else _DEFINITE if definite else _PLURAL if plural else _SINGULAR
    return {word: weight for word, weight in weights.items() if ownable or word not in _OWNERS}


def _degree(draw: Draw, determiner: str, adjective: Adjective | None) -> Degree:
    if adjective is None or "absolute" in adjective.classes:
        return 0
    if determiner == "the" and draw.chance(0.25):
        return 2
    return 1 if determiner == "a" and draw.chance(0.2) else 0


def two_persons(draw: Draw) -> CoordinatedNounPhrase:
    """Draw two persons."""
    first = Name(draw.pick(lexicon().names))
    second = person(draw, other_than=first, pronouns=0, definite=True)
    return CoordinatedNounPhrase(first, second)


def place(draw: Draw, classes: str = "in,on,at") -> PrepositionalPhrase:
    """Draw the place of an event: in, on or at a place, or near a building."""
    noun = draw.pick(nouns(frozenset(classes.split(","))))
    if "building" in noun.classes and draw.chance(0.2):
        return prepositional_phrase(draw, noun, draw.pick(_NEARBY_PREPOSITIONS))
    preposition = IN if "in" in noun.classes else ON if "on" in noun.classes else AT
    return prepositional_phrase(draw, noun, preposition)


def prepositional_phrase(
    draw: Draw, noun: Noun, preposition: Preposition, case: Case = "dative"
) -> PrepositionalPhrase:
    """Draw a phrase for a noun, mostly with "the" and nothing else, and put a preposition before it."""
    phrase = phrase_of(draw, noun, owned=0.03)
    if draw.chance(0.6) or not isinstance(phrase, Common) or phrase.determiner in {"bare", "every", "all"}:
        phrase = Common("the", None, 0, noun, False)
    return PrepositionalPhrase(Preposition(preposition.english, preposition.german, case), phrase)


def position(draw: Draw, classes: Sequence[str], case: Case) -> PrepositionalPhrase:
    """Draw a place on a surface, or under, behind, in front of or beside an object of the classes."""
    noun = draw.pick(nouns(frozenset(classes)))
    options = [*_NEARBY_PREPOSITIONS]
    if "surface" in noun.classes:
        options += [ON, ON, ON]
    if noun.english in {"table", "bed", "chair", "sofa"}:
        options.append(UNDER)
    return prepositional_phrase(draw, noun, draw.pick(options), case)
