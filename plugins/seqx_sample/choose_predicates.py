"""Predicates that suit a subject: what it can do, with what, where to, how."""

from dataclasses import replace

from .choose_phrases import AT, IN, ON, around, beside, common, near, pair, person, place
from .draw import Draw, adjectives, adverbials, frames_with_object, frames_with_subject, nouns
from .phrases import Common, NounPhrase, Placed, PrepositionalPhrase
from .predicates import (
    BE,
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
from .words import Adverbial, Frame, Noun, Preposition, Verb

_TO = Preposition("to", "zu", "dative")
_INTO = Preposition("into", "in", "accusative")
_OUT = Preposition("out of", "aus", "dative")
_THROUGH = Preposition("through", "durch", "accusative")
_OVER = Preposition("over", "über", "accusative")
_ONTO = Preposition("onto", "auf", "accusative")
_WITH = Preposition("with", "mit", "dative")
_WITHOUT = Preposition("without", "ohne", "accusative")
_FOR = Preposition("for", "für", "accusative")

_ANY_PLACE = frozenset({"in", "on", "at"})
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
        (_TO, "building,at,market"),
        (_INTO, "building,room,area"),
        (_OUT, "building,room,area"),
        (_THROUGH, "area"),
    ),
    "fly": ((_TO, "island,city,airport,forest"), (_OVER, "area,building,bridge,river,lake,island")),
    "jump": (
        (_ONTO, "table,bed,chair,sofa"),
        (_INTO, "river,lake,boat"),
        (_OVER, "table,chair,box,basket,river"),
    ),
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
    "find",
    "open",
}
_TOGETHER = {"go", "travel", "dance", "sing", "eat", "work", "wait", "cook", "drive", "arrive", "swim"}


def object_of(
    draw: Draw, classes: frozenset[str], subject: NounPhrase, *, negated: bool = False
) -> NounPhrase:
    """An object of the classes."""
    options = nouns(classes)
    noun = draw.pick(options)
    if "person" in noun.classes and "person" in classes:
        return pair(draw) if draw.chance(0.04) else person(draw, but=subject, definite=negated)
    phrase = common(draw, classes - {"person"}, but=subject)
    if (
        negated
        and isinstance(phrase, Common)
        and phrase.determiner not in {"a", "bare", "the", "this", "my", "his", "her"}
    ):
        return replace(phrase, determiner="the")
    if isinstance(phrase, Common) and phrase.noun.classes & {"furniture", "thing"} and draw.chance(0.02):
        return Placed(replace(phrase, determiner="the", degree=0), place(draw))
    return phrase


def goal(draw: Draw, verb: Verb) -> PrepositionalPhrase:
    """Where a movement leads."""
    preposition, classes = draw.pick(_GOALS[verb.english])
    return beside(draw, draw.pick(nouns(frozenset(classes.split(",")))), preposition, preposition.case)


def filled(draw: Draw, verb: Verb, frame: Frame, subject: NounPhrase, *, negated: bool = False) -> Predicate:
    """A verb with the places of its frame filled."""
    match frame.kind:
        case "T":
            return Transitive(verb, object_of(draw, frame.objects[0], subject, negated=negated))
        case "D":
            phrase = (
                person(draw, but=subject, definite=True)
                if "animal" not in frame.objects[0]
                else object_of(draw, frame.objects[0], subject)
            )
            return Dative(verb, phrase)
        case "R":
            recipient = person(draw, but=subject, definite=True)
            return Ditransitive(verb, recipient, common(draw, frame.objects[1], but=recipient))
        case "P":
            assert frame.preposition is not None
            phrase = object_of(draw, frame.objects[0], subject, negated=True)
            return Prepositional(verb, PrepositionalPhrase(frame.preposition, phrase))
        case "M" | "F":
            return Prepositional(verb, goal(draw, verb))
        case "L":
            return Prepositional(verb, _position(draw, verb, frame, subject))
        case "U":
            where = near(draw, ["surface"], "accusative")
            if draw.chance(0.3):
                where = beside(draw, draw.pick(nouns(frozenset({"holder", "cupboard"}))), _INTO, "accusative")
            return Putting(verb, common(draw, frame.objects[0]), where)
        case _:
            return Intransitive(verb)


def _position(draw: Draw, verb: Verb, frame: Frame, subject: NounPhrase) -> PrepositionalPhrase | Adverbial:
    if verb.english in {"live", "stay"}:
        if draw.chance(0.2):
            return draw.pick(adverbials("place")[: 2 if verb.english == "live" else 4])
        classes = "city,village,house,castle,hotel,forest,island" if verb.english == "live" else "in,island"
        noun = draw.pick(nouns(frozenset(classes.split(","))))
        return beside(draw, noun, ON if noun.english == "island" else IN)
    if draw.chance(0.25):
        return place(draw)
    return near(draw, ["surface"] if verb.english != "stand" else ["building", "cupboard", "table"], "dative")


def action(
    draw: Draw, noun: Noun, subject: NounPhrase, *, kinds: str = "ITDRPMFLU", negated: bool = False
) -> tuple[Predicate, Frame]:
    """What a subject around `noun` does, with the frame of the verb."""
    options = frames_with_subject(noun, kinds)
    if draw.chance(0.35) and "person" in noun.classes:
        kind = draw.pick([kind for kind in kinds if kind in "RPMDU"] or list(kinds))
        options = frames_with_subject(noun, kind) or options
    verb, frame = draw.pick(options)
    return filled(draw, verb, frame, subject, negated=negated), frame


def state(draw: Draw, noun: Noun, subject: NounPhrase) -> Predicate | None:
    """What a subject around `noun` is."""
    options = adjectives(noun)
    if not options:
        return None
    adjective = draw.pick(options)
    if draw.chance(0.3) and "absolute" not in adjective.classes:
        other = draw.pick(
            [each for each in nouns(noun.classes - {noun.english}) if adjective in adjectives(each)]
        )
        standard = around(draw, other, definite=True, owned=0)
        if "person" in noun.classes and draw.chance(0.6):
            standard = person(draw, but=subject, pronouns=0, definite=True)
        if other != noun and isinstance(standard, NounPhrase):
            return Compared(adjective, draw.chance(0.35), standard)
    if "person" in noun.classes and draw.chance(0.25) and not subject.plural and noun.sex != "she":
        profession = draw.pick(
            [
                each
                for each in nouns(frozenset({"person"}))
                if each.sex == "he" and "kin" not in each.classes and each.english != "man"
            ]
        )
        if profession != noun:
            return BeingOne(
                Common("a", adjective if adjective in adjectives(profession) else None, 0, profession, False)
            )
    return Being(adjective)


def passive(draw: Draw) -> tuple[NounPhrase, Predicate]:
    """Something that is done, by somebody or not."""
    while True:
        noun = draw.pick(
            nouns(
                frozenset(
                    {
                        "thing",
                        "text",
                        "building",
                        "vehicle",
                        "food",
                        "person",
                        "matter",
                        "opening",
                        "room",
                        "song",
                    }
                )
            )
        )
        options = [
            verb
            for verb, _ in frames_with_object(noun, "T")
            if not verb.stative
            and verb.particle not in {"for", "along", "on"}
            and verb.english not in {"make", "meet", "learn"}
        ]
        if options:
            break
    subject = around(draw, noun, owned=0.05)
    agent = person(draw, but=subject, pronouns=0.1, definite=True) if draw.chance(0.4) else None
    return subject, Passive(draw.pick(options), agent)


def company(draw: Draw, predicate: Predicate, subject: NounPhrase) -> PrepositionalPhrase | None:
    """Who takes part, or for whom it is done."""
    verb = predicate.verb.english
    if predicate.verb.particle:
        return None
    if verb in _TOGETHER and isinstance(predicate, Intransitive):
        return PrepositionalPhrase(
            draw.weighted({_WITH: 3, _WITHOUT: 1}), person(draw, but=subject, definite=True)
        )
    if verb in _FOR_SOMEBODY and isinstance(predicate, Transitive):
        return PrepositionalPhrase(_FOR, person(draw, but=subject, definite=True))
    return None
