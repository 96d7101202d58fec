"""Choose clauses whose parts fit: subjects, tenses, adverbials and relative clauses."""

from dataclasses import replace

from .choose_phrases import head_noun, person, phrase_of, place, two_persons
from .choose_predicates import action, passive, person_adjunct, state
from .clauses import Clause, WithRelativeClause
from .draw import Draw, adverbials, frames_with_object, nouns
from .phrases import Common, Name, NounPhrase, PrepositionalPhrase, RelativePronoun
from .predicates import BE, Dative, Intransitive, Predicate, Prepositional, Transitive
from .verbs import Tense
from .words import Adverbial, Noun, Preposition

Tenses = dict[Tense, float]
Subject = tuple[NounPhrase, Noun]  # a phrase, and the noun that determines what the subject can do

MAN = next(noun for noun in nouns(frozenset({"person"})) if noun.english == "man")
PAST: Tenses = {"past": 10, "could": 1, "had to": 1, "wanted": 1}
PRESENT: Tenses = {"present": 10, "can": 1, "must": 1, "want": 1, "perfect": 2, "future": 1}

_ACTIVE: Tenses = {
    "present": 24,
    "past": 24,
    "perfect": 15,
    "future": 8,
    "progressive": 8,
    "past progressive": 3,
    "can": 4,
    "could": 2,
    "must": 3,
    "had to": 2,
    "may": 2,
    "should": 3,
    "want": 3,
    "wanted": 2,
}
_STATIVE: Tenses = {"present": 55, "past": 35, "future": 10}
_LIFELESS: Tenses = {"present": 40, "past": 30, "perfect": 20, "future": 10}
_PASSIVE: Tenses = {"present": 25, "past": 35, "perfect": 15, "future": 10, "must": 8, "can": 7}
# Adverbials of time per tense; a use that is listed twice is drawn twice as often.
_TIMES: dict[Tense, tuple[str, ...]] = {
    "present": ("any", "habit"),
    "past": ("any", "past", "past", "past"),
    "had to": ("past",),
    "wanted": ("past",),
    "future": ("any", "future", "future"),
    "progressive": ("present",),
    "past progressive": ("any", "past"),
    "can": ("any", "future", "present"),
    "must": ("any", "future", "present"),
    "should": ("any", "future"),
    "want": ("future", "present"),
}
_EVENTS = frozenset({"event", "film"})
_BEFORE_AND_AFTER = (Preposition("before", "vor", "dative"), Preposition("after", "nach", "dative"))
_NEGATABLE = {"the", "my", "your", "his", "her", "our", "their", "this"}
_PERFECT_FREQUENCIES = {"oft", "immer", "nie"}


def tense_for(draw: Draw, predicate: Predicate, subject: NounPhrase) -> Tense:
    """Draw a tense that suits the verb and its subject."""
    noun = head_noun(subject)
    if predicate.voice == "passive":
        return draw.weighted(_PASSIVE)
    if noun is None or not noun.classes.isdisjoint({"person", "animal"}):
        return allowed_tense(draw, predicate, _ACTIVE)
    return allowed_tense(draw, predicate, _LIFELESS)


def allowed_tense(draw: Draw, predicate: Predicate, weights: Tenses) -> Tense:
    """Draw one of the tenses: no modals for states, no past that equals the present ("read", "put")."""
    verb = predicate.verb
    if verb.stative:
        weights = {tense: weight for tense, weight in weights.items() if tense in _STATIVE} or weights
    if predicate.voice == "active" and verb.english_past == verb.english:
        weights = {tense: weight for tense, weight in weights.items() if tense != "past"}
    return draw.weighted(weights) if weights else "pluperfect"


def subject(draw: Draw, *, pronouns: float = 0.22) -> Subject:
    """Draw a subject: a person, an animal or a vehicle."""
    if draw.chance(0.05):
        return two_persons(draw), MAN
    if draw.chance(0.2):
        noun = draw.pick(nouns(frozenset({"animal", "public"})))
        return phrase_of(draw, noun), noun
    phrase = person(draw, pronouns=pronouns)
    person_noun = head_noun(phrase)
    return phrase, person_noun if person_noun and not isinstance(phrase, Name) else MAN


def negatable(phrase: NounPhrase) -> bool:
    """Return true if "not" has only one meaning in a clause with this subject."""
    return not isinstance(phrase, Common) or phrase.determiner in _NEGATABLE


def clause(
    draw: Draw,
    *,
    who: Subject | None = None,
    adverbs: float = 0.4,
    states: float = 0.14,
    temporary: bool = False,
    tenses: Tenses | None = None,
    kinds: str = "ITDRPMFLU",
) -> Clause:
    """Draw a clause.

    Args:
        draw: the source of random choices
        who: the subject; if None, it is drawn, and the clause may be passive
        adverbs: factor of the probability of adverbials
        states: probability of a clause with the copula
        temporary: allow temporary states only, such as "tired"
        tenses: tenses to choose from, with their weights; None: all that suit the verb
        kinds: kinds of frames to choose from, see verbs.txt
    """
    phrase, noun = who or subject(draw)
    negated = draw.chance(0.13) and negatable(phrase) and not isinstance(phrase, WithRelativeClause)
    predicate = state(draw, noun, phrase, temporary=temporary) if draw.chance(states) else None
    if predicate is None and who is None and draw.chance(0.1):
        phrase, predicate = passive(draw)
        negated = negated and negatable(phrase)
    has_no_adverbials = predicate is not None
    if predicate is None:
        predicate, _ = action(draw, noun, phrase, kinds=kinds, negated=negated)
    tense = allowed_tense(draw, predicate, tenses) if tenses else tense_for(draw, predicate, phrase)
    negated = negated and tense not in {"must", "may", "had to"}
    result = Clause(phrase, predicate, tense, negated=negated)
    return (
        result
        if has_no_adverbials or (negated and draw.chance(0.7))
        else _with_adverbials(draw, result, noun, adverbs)
    )


def _with_adverbials(draw: Draw, result: Clause, noun: Noun, factor: float) -> Clause:
    predicate = result.predicate
    active = not predicate.verb.stative
    if active and result.tense in _TIMES and draw.chance(factor * 0.5):
        result = replace(result, time=when(draw, result.tense, habit=not result.negated))
    elif result.tense in {"present", "past", "perfect"} and not result.negated and draw.chance(factor * 0.4):
        options = [
            each
            for each in adverbials("frequency")
            if result.tense != "perfect" or each.german in _PERFECT_FREQUENCIES
        ]
        result = replace(result, frequency=draw.pick(options))
    manners = [each for each in adverbials("manner") if each.uses & predicate.verb.manners]
    if manners and draw.chance(factor * 0.5):
        return replace(result, manner=draw.pick(manners))
    if result.negated or not active or not isinstance(predicate, Intransitive | Transitive):
        return result
    if draw.chance(factor * 0.7):
        return replace(result, place=person_adjunct(draw, predicate, result.subject))
    return replace(result, place=where(draw, result, noun)) if draw.chance(factor * 0.6) else result


def where(draw: Draw, result: Clause, noun: Noun) -> Adverbial | PrepositionalPhrase | None:
    """Draw a place that suits the action and the subject."""
    if result.predicate.verb.english == "arrive":
        return place(draw, "at")
    if "public" in noun.classes:
        return None
    if "animal" in noun.classes:
        return place(draw, "area,river,lake,street,island")
    return place(draw) if draw.chance(0.8) else draw.pick(adverbials("place"))


def when(draw: Draw, tense: Tense, *, habit: bool = True) -> Adverbial | PrepositionalPhrase:
    """Draw a time that suits the tense."""
    use = draw.pick([use for use in _TIMES[tense] if habit or use != "habit"])
    if use == "any" and draw.chance(0.2):
        event = Common("the", None, 0, draw.pick(nouns(_EVENTS)), plural=False)
        return PrepositionalPhrase(draw.pick(_BEFORE_AND_AFTER), event)
    options = adverbials("time", use)
    return draw.pick([each for each in options if each.german != "jetzt"] if tense == "future" else options)


def allows_time(tense: Tense) -> bool:
    """Return true if an adverbial of time can go with the tense."""
    return tense in _TIMES


def with_relative_clause(draw: Draw, phrase: NounPhrase) -> NounPhrase:
    """Add a suitable relative clause to a phrase, if there is one."""
    noun = head_noun(phrase)
    if (
        noun is None
        or not isinstance(phrase, Common)
        or phrase.determiner not in {"the", "a", "many", "some", "bare"}
    ):
        return phrase
    pronoun = RelativePronoun(phrase.gender, phrase.plural, "person" in noun.classes)
    if draw.chance(0.6 if "person" in noun.classes else 0.5 if "animal" in noun.classes else 0):
        predicate, _ = action(draw, noun, pronoun)
        return WithRelativeClause(phrase, Clause(pronoun, predicate, tense_for(draw, predicate, phrase)))
    options = frames_with_object(noun, "TDP")
    if not options:
        return phrase
    verb, frame = draw.pick(options)
    if frame.kind == "P":
        assert frame.preposition is not None
        predicate = Prepositional(verb, PrepositionalPhrase(frame.preposition, pronoun))
    else:
        predicate = Dative(verb, pronoun) if frame.kind == "D" else Transitive(verb, pronoun)
    who = person(draw, other_than=phrase, pronouns=0.45, definite=True)
    return WithRelativeClause(phrase, Clause(who, predicate, tense_for(draw, predicate, who)))


def is_state(result: Clause) -> bool:
    """Return true if the clause describes a state of its subject."""
    return result.predicate.verb is BE
