"""Choose predicates that suit a subject, with objects, goals and manners."""

from dataclasses import replace

from .choose_phrases import (
    IN,
    ON,
    common,
    head_noun,
    person,
    phrase_of,
    place,
    position,
    prepositional_phrase,
    two_persons,
)
from .draw import Draw, adjectives, adverbials, frames_with_object, frames_with_subject, nouns
from .phrases import Common, NounPhrase, Owned, Placed, PrepositionalPhrase
from .predicates import (
    Being,
    BeingOne,
    Compared,
    Dative,
    Ditransitive,
    Intransitive,
    Passive,
    Predicate,
    Prepositional,
    Putting,
    Transitive,
)
from .words import Adjective, Adverbial, Frame, Noun, Preposition, Verb

_TO = Preposition("to", "zu", "dative")
_INTO = Preposition("into", "in", "accusative")
_OUT = Preposition("out of", "aus", "dative")
_THROUGH = Preposition("through", "durch", "accusative")
_OVER = Preposition("over", "über", "accusative")
_ONTO = Preposition("onto", "auf", "accusative")
_WITH = Preposition("with", "mit", "dative")
_WITHOUT = Preposition("without", "ohne", "accusative")
_FOR = Preposition("for", "für", "accusative")

# Prepositions of each verb of motion, with the classes of nouns that may follow.
_GOALS: dict[str, tuple[tuple[Preposition, str], ...]] = {
    "go": (
        (_TO, "building,at"),
        (_INTO, "building,room,forest,garden,park"),
        (_OUT, "building,room"),
        (_THROUGH, "area"),
    ),
    "drive": (
        (_TO, "building,at,market,bridge"),
        (_INTO, "city,village,forest"),
        (_THROUGH, "city,village,forest"),
    ),
    "run": (
        (_TO, "at,market,tree,house"),
        (_INTO, "building,room,area"),
        (_OUT, "building,area"),
        (_THROUGH, "area"),
    ),
    "fly": ((_TO, "island,city,forest"), (_OVER, "area,building,bridge,river,lake,island")),
    "jump": ((_ONTO, "table,bed,chair,sofa"), (_INTO, "river,lake,boat"), (_OVER, "chair,box,basket,river")),
    "travel": ((_TO, "city,village,island,castle"), (_THROUGH, "city,forest")),
}
_FOR_SOMEBODY = {
    "buy",
    "cook",
    "paint",
    "build",
    "sing",
    "prepare",
    "draw",
    "translate",
    "look",
    "open",
    "steal",
}
_TOGETHER = {"dance", "sing", "work", "wait", "cook", "swim", "laugh", "rest"}
_PERSON = frozenset({"person"})
_SOLID = frozenset({"thing", "furniture"})
_PASSIVE_SUBJECTS = frozenset(
    {"thing", "text", "building", "vehicle", "food", "person", "matter", "opening", "room", "song"}
)
_COMPARABLE = frozenset(
    {"animal", "furniture", "building", "room", "clothes", "text", "song", "food", "vehicle", "thing"}
)
_NEVER_PASSIVE = {"make", "meet", "learn", "put"}


def object_of(
    draw: Draw, classes: frozenset[str], subject: NounPhrase, *, negated: bool = False
) -> NounPhrase:
    """Draw an object of the classes."""
    noun = draw.pick(nouns(classes))
    if "person" in noun.classes and "person" in classes:
        return two_persons(draw) if draw.chance(0.04) else person(draw, other_than=subject, definite=negated)
    phrase = common(draw, classes - {"person"}, other_than=subject)
    if not isinstance(phrase, Common):
        return phrase
    if negated and phrase.determiner in {
        "every",
        "all",
        "many",
        "some",
        "two",
        "three",
        "four",
        "five",
        "six",
        "ten",
    }:
        return replace(phrase, determiner="the")
    if not negated and phrase.plural and draw.chance(0.03):
        return replace(phrase, determiner="no", degree=0)
    if not phrase.noun.classes.isdisjoint(_SOLID) and draw.chance(0.02):
        return Placed(replace(phrase, determiner="the", degree=0), place(draw))
    return phrase


def with_complements(
    draw: Draw, verb: Verb, frame: Frame, subject: NounPhrase, *, negated: bool = False
) -> Predicate:
    """Draw the complements that a frame of a verb requires."""
    match frame.kind:
        case "T":
            predicate: Predicate = Transitive(
                verb, object_of(draw, frame.objects[0], subject, negated=negated)
            )
        case "D" if "animal" not in frame.objects[0]:
            predicate = Dative(verb, person(draw, other_than=subject, definite=True))
        case "D":
            predicate = Dative(verb, object_of(draw, frame.objects[0], subject, negated=True))
        case "R":
            recipient = person(draw, other_than=subject, definite=True)
            predicate = Ditransitive(verb, recipient, common(draw, frame.objects[1], other_than=recipient))
        case "P":
            assert frame.preposition is not None
            phrase = object_of(draw, frame.objects[0], subject, negated=True)
            predicate = Prepositional(verb, PrepositionalPhrase(frame.preposition, phrase))
        case "M" | "F":
            predicate = Prepositional(verb, _goal(draw, verb))
        case "L":
            predicate = Prepositional(verb, _lasting_place(draw, verb, head_noun(subject)))
        case "U":
            predicate = Putting(verb, common(draw, frame.objects[0]), _new_place(draw))
        case _:
            predicate = Intransitive(verb)
    return predicate


def _goal(draw: Draw, verb: Verb) -> PrepositionalPhrase:
    preposition, classes = draw.pick(_GOALS[verb.english])
    noun = draw.pick(nouns(frozenset(classes.split(","))))
    return prepositional_phrase(draw, noun, preposition, preposition.case)


def _new_place(draw: Draw) -> PrepositionalPhrase:
    if draw.chance(0.3):
        return prepositional_phrase(
            draw, draw.pick(nouns(frozenset({"holder", "cupboard"}))), _INTO, "accusative"
        )
    return position(draw, ["surface"], "accusative")


def _lasting_place(draw: Draw, verb: Verb, noun: Noun | None) -> PrepositionalPhrase | Adverbial:
    if verb.english in {"live", "stay"}:
        if draw.chance(0.2):
            return draw.pick(adverbials("place")[: 2 if verb.english == "live" else 4])
        classes = "city,village,house,castle,hotel,island" if verb.english == "live" else "in,island"
        noun = draw.pick(nouns(frozenset(classes.split(","))))
        return prepositional_phrase(draw, noun, ON if noun.english == "island" else IN)
    noun_classes = noun.classes if noun else _PERSON
    if "vehicle" in noun_classes:
        return (
            place(draw, "street,bridge,at,market")
            if draw.chance(0.5)
            else position(draw, ["building"], "dative")
        )
    if draw.chance(0.2):
        return place(draw)
    lying = verb.english != "stand" or noun_classes.isdisjoint(_PERSON | {"furniture"})
    return position(draw, ["surface"] if lying else ["building", "cupboard", "table", "tree"], "dative")


def action(
    draw: Draw, noun: Noun, subject: NounPhrase, *, kinds: str = "ITDRPMFLU", negated: bool = False
) -> tuple[Predicate, Frame]:
    """Draw an action of a subject with this noun; return it with the frame of its verb."""
    options = frames_with_subject(noun, kinds)
    if draw.chance(0.4) and "person" in noun.classes:
        options = (
            frames_with_subject(noun, draw.pick([kind for kind in kinds if kind in "RPMDUL"])) or options
        )
    verb, frame = draw.pick(options)
    return with_complements(draw, verb, frame, subject, negated=negated), frame


def state(draw: Draw, noun: Noun, subject: NounPhrase, *, temporary: bool = False) -> Predicate | None:
    """Draw a state of a subject with this noun; None if there is none.

    If `temporary` is true, only temporary states such as "tired" are drawn.
    """
    options = [each for each in adjectives(noun) if not temporary or "mood" in each.classes]
    if not options:
        return None
    adjective = draw.pick(options)
    if temporary:
        return Being(adjective)
    if "person" in noun.classes and draw.chance(0.2):
        return _profession(draw, subject) or Being(adjective)
    if draw.chance(0.35) and "absolute" not in adjective.classes:
        return _comparison(draw, adjective, noun, subject)
    return Being(adjective)


def _profession(draw: Draw, subject: NounPhrase) -> Predicate | None:
    if (
        subject.plural
        or subject.gender == "f"
        or not (subject.pronominal or type(subject).__name__ == "Name")
    ):
        return None
    profession = draw.pick(nouns(frozenset({"job"})))
    traits = [each for each in adjectives(profession) if "trait" in each.classes]
    return BeingOne(Common("a", draw.pick(traits) if draw.chance(0.7) else None, 0, profession, plural=False))


def _comparison(draw: Draw, adjective: Adjective, noun: Noun, subject: NounPhrase) -> Predicate:
    equal = draw.chance(0.35)
    if "person" in noun.classes:
        return Compared(adjective, equal, person(draw, other_than=subject, pronouns=0, definite=True))
    classes = noun.classes & _COMPARABLE
    others = [
        each for each in nouns(classes or noun.classes) if adjective in adjectives(each) and each != noun
    ]
    if not others:
        return Being(adjective)
    return Compared(adjective, equal, phrase_of(draw, draw.pick(others), definite=True, owned=0))


def passive(draw: Draw) -> tuple[Common | Owned, Predicate]:
    """Draw a predicate in the passive voice, with or without an agent."""
    while True:
        noun = draw.pick(nouns(_PASSIVE_SUBJECTS))
        options = [
            verb
            for verb, _ in frames_with_object(noun, "T")
            if not verb.stative
            and verb.particle not in {"for", "along", "on"}
            and verb.english not in _NEVER_PASSIVE
        ]
        if options:
            break
    subject = phrase_of(draw, noun, owned=0.05)
    agent = person(draw, other_than=subject, pronouns=0.1, definite=True) if draw.chance(0.4) else None
    return subject, Passive(draw.pick(options), agent)


def person_adjunct(draw: Draw, predicate: Predicate, subject: NounPhrase) -> PrepositionalPhrase | None:
    """Draw a phrase with, without or for somebody; None if the verb allows none."""
    verb = predicate.verb.english
    doer = head_noun(subject)
    if predicate.verb.particle or (doer and doer.classes.isdisjoint(_PERSON)):
        return None
    if verb in _TOGETHER and isinstance(predicate, Intransitive):
        return PrepositionalPhrase(
            draw.weighted({_WITH: 3, _WITHOUT: 1}), person(draw, other_than=subject, definite=True)
        )
    if verb in _FOR_SOMEBODY and isinstance(predicate, Transitive):
        return PrepositionalPhrase(_FOR, person(draw, other_than=subject, definite=True))
    return None
