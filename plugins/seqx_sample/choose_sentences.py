"""Clauses and sentences: tenses, adverbials and clauses that go together."""

from dataclasses import replace

from .choose_phrases import around, common, head, pair, person, place, reference
from .choose_predicates import action, company, filled, passive, state
from .clauses import Clause
from .draw import Draw, adverbials, frames, frames_with_object, nouns
from .phrases import Common, Interrogative, Name, NounPhrase, Pronoun, Related, RelativePronoun, WhichOne
from .predicates import (
    Being,
    BeingOne,
    Compared,
    Dative,
    Intransitive,
    Predicate,
    Prepositional,
    Saying,
    Transitive,
    Trying,
)
from .sentences import (
    AdverbQuestion,
    Chained,
    Existence,
    Fronted,
    Joined,
    Preposed,
    Request,
    Sentence,
    Statement,
    Subordinated,
    WhQuestion,
    YesNo,
)
from .phrases import PrepositionalPhrase
from .verbs import Tense
from .words import Adverbial, Noun, Preposition

_PERSON = nouns(frozenset({"person"}))
_SOMEBODY = next(noun for noun in _PERSON if noun.english == "man")
_IT = Pronoun(3, False)
_ACTIVE: dict[Tense, float] = {
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
_STATIVE: dict[Tense, float] = {"present": 55, "past": 35, "future": 10}
_THINGS: dict[Tense, float] = {"present": 40, "past": 30, "perfect": 20, "future": 10}
_PASSIVE: dict[Tense, float] = {"present": 25, "past": 35, "perfect": 15, "future": 10, "must": 8, "can": 7}
_PAST: dict[Tense, float] = {"past": 10, "could": 1, "had to": 1, "wanted": 1}
_PRESENT: dict[Tense, float] = {"present": 10, "can": 1, "must": 1, "want": 1, "perfect": 2, "future": 1}
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
_EVENT = frozenset({"event", "film"})


def tense_for(draw: Draw, predicate: Predicate, subject: NounPhrase) -> Tense:
    """A tense that the verb and its subject allow."""
    verb, noun = predicate.verb, head(subject)
    alive = noun is None or bool(noun.classes & {"person", "animal"})
    if predicate.voice == "passive":
        weights = _PASSIVE
    elif isinstance(predicate, Being | BeingOne | Compared) or verb.stative:
        weights = _STATIVE
    else:
        weights = _ACTIVE if alive else _THINGS
    return _unambiguous(draw, predicate, weights)


def _unambiguous(draw: Draw, predicate: Predicate, weights: dict[Tense, float]) -> Tense:
    """Not the past of "read" and "put", which looks like the present; states take no modals."""
    verb = predicate.verb
    if predicate.voice == "active" and verb.english_past == verb.english:
        weights = {tense: weight for tense, weight in weights.items() if tense != "past"}
    if verb.stative:
        weights = {tense: weight for tense, weight in weights.items() if tense in _STATIVE} or {"perfect": 1}
    return draw.weighted(weights or {"perfect": 1})


def subject(draw: Draw, *, pronouns: float = 0.22) -> tuple[NounPhrase, Noun]:
    """Somebody or some animal, and the noun that says what it can do."""
    if draw.chance(0.05):
        return pair(draw), _SOMEBODY
    if draw.chance(0.22):
        noun = draw.pick(nouns(frozenset({"animal", "animal", "public"})))
        return around(draw, noun), noun
    phrase = person(draw, pronouns=pronouns)
    return phrase, head(phrase) if isinstance(phrase, Common) and head(phrase) else _SOMEBODY


def clause(
    draw: Draw,
    *,
    adverbs: float = 0.4,
    who: tuple[NounPhrase, Noun] | None = None,
    tenses: dict[Tense, float] | None = None,
    states: float = 0.14,
) -> Clause:
    """A main clause, or what becomes a subordinate one."""
    phrase, noun = who or subject(draw)
    negated = draw.chance(0.13) and (
        not isinstance(phrase, Common) or phrase.determiner in {"the", "my", "your", "his", "her", "this"}
    )
    frame = None
    predicate: Predicate | None = None
    if draw.chance(states):
        predicate = state(draw, noun, phrase)
    elif who is None and draw.chance(0.1):
        phrase, predicate = passive(draw)
        negated = negated and isinstance(phrase, Common) and phrase.determiner in {"the", "my", "this"}
    if predicate is None:
        predicate, frame = action(draw, noun, phrase, negated=negated)
    if isinstance(phrase, Related):
        negated = False
    tense = _unambiguous(draw, predicate, tenses) if tenses else tense_for(draw, predicate, phrase)
    if negated and tense in {"must", "may", "had to"}:
        negated = False
    result = Clause(phrase, predicate, tense, negated=negated)
    if frame is None or negated and draw.chance(0.7):
        return result
    return adverbed(draw, result, adverbs)


def adverbed(draw: Draw, result: Clause, share: float) -> Clause:
    """A clause with adverbials that suit it."""
    predicate = result.predicate
    if draw.chance(share * 0.5) and result.tense in _TIMES and not result.predicate.verb.stative:
        result = replace(result, time=when(draw, result.tense))
    elif draw.chance(share * 0.4) and result.tense in {"present", "past", "perfect"} and not result.negated:
        options = adverbials("frequency")
        frequency = draw.pick(
            [each for each in options if result.tense != "perfect" or each.german in {"oft", "immer", "nie"}]
        )
        result = replace(result, frequency=frequency)
    manners = [each for each in adverbials("manner") if each.uses & predicate.verb.manners]
    if manners and draw.chance(share * 0.5):
        return replace(result, manner=draw.pick(manners))
    if isinstance(predicate, Intransitive | Transitive) and not predicate.verb.stative:
        with_whom = company(draw, predicate, result.subject) if draw.chance(share * 0.7) else None
        if with_whom:
            return replace(result, place=with_whom)
        if draw.chance(share * 0.5):
            return replace(result, place=place(draw) if draw.chance(0.8) else draw.pick(adverbials("place")))
    return result


def when(draw: Draw, tense: Tense) -> Adverbial | PrepositionalPhrase:
    """A time that suits a tense."""
    use = draw.pick(_TIMES[tense])
    if use == "any" and draw.chance(0.2):
        preposition = draw.pick(
            [Preposition("before", "vor", "dative"), Preposition("after", "nach", "dative")]
        )
        return PrepositionalPhrase(preposition, Common("the", None, 0, draw.pick(nouns(_EVENT)), False))
    options = adverbials("time", use)
    return draw.pick(options)


def related(draw: Draw, phrase: NounPhrase) -> NounPhrase:
    """A phrase with a relative clause, where there is one that suits it."""
    noun = head(phrase)
    if (
        noun is None
        or isinstance(phrase, Name)
        or isinstance(phrase, Common)
        and phrase.determiner == "every"
    ):
        return phrase
    personal = "person" in noun.classes
    pronoun = RelativePronoun(phrase.gender, phrase.plural, personal)
    if personal and draw.chance(0.6) or "animal" in noun.classes and draw.chance(0.5):
        predicate, _ = action(draw, noun, pronoun)
        tense = tense_for(draw, predicate, phrase)
        return Related(phrase, Clause(pronoun, predicate, tense))
    options = [(verb, frame) for verb, frame in frames_with_object(noun, "TDP")]
    if not options:
        return phrase
    verb, frame = draw.pick(options)
    predicate = filled(draw, verb, replace(frame, objects=(frozenset({"man"}),)), _IT)
    if frame.kind == "P":
        assert frame.preposition is not None
        predicate = Prepositional(verb, PrepositionalPhrase(frame.preposition, pronoun))
    else:
        predicate = Dative(verb, pronoun) if frame.kind == "D" else Transitive(verb, pronoun)
    who = person(draw, but=phrase, pronouns=0.45, definite=True)
    return Related(phrase, Clause(who, predicate, tense_for(draw, predicate, who)))


def statement(draw: Draw) -> Sentence:
    """A main clause, perhaps with a relative clause at its subject or object."""
    result = clause(draw)
    if draw.chance(0.3):
        who, noun = subject(draw, pronouns=0)
        result = clause(draw, who=(related(draw, who), noun), adverbs=0.15, states=0.35)
    elif (
        isinstance(result.predicate, Transitive)
        and not result.place
        and not result.manner
        and draw.chance(0.35)
    ):
        result = replace(
            result, predicate=replace(result.predicate, object=related(draw, result.predicate.object))
        )
    return Statement(result)


def fronted(draw: Draw) -> Sentence:
    """A main clause behind an adverbial."""
    result = clause(draw, adverbs=0.2, states=0.03)
    if result.time is None and result.tense in _TIMES and draw.chance(0.75):
        return Fronted(when(draw, result.tense), result)
    if (
        result.place is None
        and isinstance(result.predicate, Transitive | Intransitive)
        and not result.predicate.verb.stative
    ):
        return Fronted(place(draw), result)
    if result.frequency is None and result.tense in {"present", "past"} and not result.negated:
        return Fronted(
            draw.pick(
                [each for each in adverbials("frequency") if each.german in {"manchmal", "normalerweise"}]
            ),
            result,
        )
    return Statement(result)


def yes_no(draw: Draw) -> Sentence:
    """A question for yes or no."""
    return YesNo(replace(clause(draw), negated=False))


def wh_question(draw: Draw) -> Sentence:
    """A question for the subject or an object."""
    if draw.chance(0.35):
        result = clause(draw, who=(Interrogative(True), _SOMEBODY))
        return WhQuestion(replace(result, negated=False))
    verb, frame = draw.pick(frames("TDP"))
    while "person" not in frame.subject:
        verb, frame = draw.pick(frames("TDP"))
    noun = draw.pick(nouns(frame.objects[0]))
    personal = "person" in noun.classes
    asked: NounPhrase = Interrogative(personal)
    if draw.chance(0.4) or frame.kind == "P" and not personal or "animal" in noun.classes:
        asked = WhichOne(Common("which", None, 0, noun, not noun.mass and draw.chance(0.3)))
    predicate: Predicate = Dative(verb, asked) if frame.kind == "D" else Transitive(verb, asked)
    if frame.kind == "P":
        assert frame.preposition is not None
        predicate = Prepositional(verb, PrepositionalPhrase(frame.preposition, asked))
    who = person(draw, pronouns=0.4, definite=True)
    tense = tense_for(draw, predicate, who)
    time = when(draw, tense) if tense in _TIMES and draw.chance(0.4) and not verb.stative else None
    return WhQuestion(Clause(who, predicate, tense, time=time))


def adverb_question(draw: Draw) -> Sentence:
    """A question for place, time or reason."""
    word = draw.pick(["where", "when", "why"])
    result = replace(
        clause(draw, adverbs=0.3 if word == "why" else 0, states=0.05), negated=False, frequency=None
    )
    if isinstance(result.predicate, Being | Compared | BeingOne | Prepositional) and word != "why":
        word = "why"
    if word == "where" and result.predicate.verb.stative:
        word = "why"
    return AdverbQuestion(word, result)


def subordinated(draw: Draw) -> Sentence:
    """Two clauses joined by a conjunction, either of them first."""
    conjunction = draw.weighted(
        {"because": 5, "although": 3, "if": 4, "when": 3, "while": 2, "before": 2, "after": 2}
    )
    past = draw.chance(0.5) if conjunction in {"because", "although"} else conjunction != "if"
    main_tenses: dict[Tense, float] = _PAST if past else _PRESENT
    if conjunction == "if":
        main_tenses = {"present": 3, "future": 4, "can": 2, "must": 2, "may": 1}
    who = subject(draw)
    main = clause(
        draw,
        who=who,
        adverbs=0,
        tenses=main_tenses,
        states=0.1 if conjunction in {"because", "although"} else 0,
    )
    below: dict[Tense, float] = {
        "after": {"pluperfect": 1},
        "before": {"past": 1},
        "while": {"past": 1},
        "when": {"past": 1},
    }.get(conjunction, _PAST if past else _PRESENT)  # type: ignore[assignment]
    if conjunction == "if":
        below = {"present": 1}
    pronoun = reference(who[0])
    if pronoun and draw.chance(0.55):
        other = (pronoun, who[1])
    else:
        other = subject(draw)
    states = 0.3 if conjunction in {"because", "although", "if"} else 0.0
    if (
        conjunction == "if"
        and draw.chance(0.1)
        or conjunction in {"because", "although"}
        and draw.chance(0.05)
    ):
        verb, _ = draw.pick(frames("Z"))
        dependent = Clause(_IT, Intransitive(verb), "past" if past else draw.pick(["present", "progressive"]))
    else:
        dependent = clause(draw, who=other, adverbs=0, tenses=below, states=states)
    if conjunction != "because" and draw.chance(0.45):
        if isinstance(main.subject, Pronoun) or other[0] is not pronoun:
            return Preposed(conjunction, dependent, main)
        dependent, main = (
            replace(dependent, subject=main.subject),
            replace(main, subject=pronoun or main.subject),
        )
        return Preposed(conjunction, dependent, main)
    return Subordinated(main, conjunction, dependent)


def saying(draw: Draw) -> Sentence:
    """A clause about what somebody says, knows or asks."""
    who = person(draw, pronouns=0.35)
    verb, frame = draw.pick(frames("CCW"))
    past = draw.chance(0.4)
    below: dict[Tense, float] = _PAST if past else {**_PRESENT, "future": 3}
    if verb.english == "hope":
        past, below = False, {"future": 5, "present": 2, "can": 2}
    pronoun = reference(who)
    other = (pronoun, _SOMEBODY) if pronoun and draw.chance(0.35) else subject(draw)
    inner = clause(draw, who=other, adverbs=0.1, tenses=below, states=0.25)
    predicate = Saying(verb, "whether" if frame.kind == "W" else "that", inner)
    return Statement(
        Clause(
            who,
            predicate,
            "past" if past else "present",
            negated=draw.chance(0.1) and verb.english != "hope" and _plain(who),
        )
    )


def _plain(phrase: NounPhrase) -> bool:
    return not isinstance(phrase, Common) or phrase.determiner in {"the", "my", "his", "her"}


def trying(draw: Draw) -> Sentence:
    """A clause with an infinitive."""
    who = person(draw, pronouns=0.3)
    verb, _ = draw.pick(frames("N"))
    while True:
        inner, _ = action(draw, _SOMEBODY, who, kinds="TDRPM")
        if not inner.verb.stative:
            break
    tense: Tense = draw.weighted({"present": 4, "past": 4, "perfect": 2})
    result = Clause(who, Trying(verb, inner), tense, negated=draw.chance(0.08) and _plain(who))
    return Fronted(when(draw, tense), result) if tense == "past" and draw.chance(0.25) else Statement(result)


def joined(draw: Draw) -> Sentence:
    """Two main clauses."""
    tenses = draw.pick([_PAST, _PRESENT])
    first = clause(draw, adverbs=0.1, tenses=tenses, who=subject(draw), states=0.2)
    second = clause(draw, adverbs=0, tenses=tenses, who=subject(draw), states=0.2)
    return Joined(first, draw.pick(["and", "but"]), second)


def chained(draw: Draw) -> Sentence:
    """Somebody does one thing and then another to it."""
    while True:
        noun = draw.pick(nouns(frozenset({"thing", "food", "drink", "text", "vehicle"})))
        options = [verb for verb, _ in frames_with_object(noun, "T") if not verb.stative]
        first, second = draw.pick(options), draw.pick(options)
        if first != second:
            break
    who, phrase = person(draw, pronouns=0.25), around(draw, noun)
    pronoun = reference(phrase)
    assert pronoun is not None
    past = (
        draw.chance(0.6)
        and "put" not in {first.english, second.english}
        and "read" not in {first.english, second.english}
    )
    tense: Tense = "past" if past else "present"
    time = when(draw, tense) if draw.chance(0.2) else None
    one = Clause(who, Transitive(first, phrase), tense, time=time)
    return Chained(one, Clause(who, Transitive(second, pronoun), tense))


def request(draw: Draw) -> Sentence:
    """A request."""
    while True:
        predicate, _ = action(draw, _SOMEBODY, Pronoun(2, False), kinds="TDRPMU")
        if not predicate.verb.stative and predicate.verb.english not in {
            "lose",
            "steal",
            "dream",
            "make",
            "break",
        }:
            return Request(predicate)


def existence(draw: Draw) -> Sentence:
    """What there is in a place."""
    phrase = common(
        draw, frozenset({"animal", "thing", "furniture", "person", "building", "vehicle"}), owned=0
    )
    if isinstance(phrase, Common):
        weights = (
            {"bare": 2, "many": 2, "some": 2, "two": 1, "three": 1, "five": 1, "ten": 1}
            if phrase.plural
            else {"a": 1}
        )
        phrase = replace(phrase, determiner=draw.weighted(weights), degree=0)
    tense: Tense = draw.pick(["present", "past"])
    negated = draw.chance(0.2) and phrase.indefinite
    return Existence(phrase, place(draw), tense, negated)


_KINDS = {
    statement: 34,
    fronted: 16,
    yes_no: 7,
    wh_question: 7,
    adverb_question: 5,
    subordinated: 14,
    saying: 6,
    trying: 5,
    joined: 3,
    chained: 4,
    request: 3,
    existence: 4,
}


def sentence(draw: Draw) -> Sentence:
    """One sentence of any kind."""
    return draw.weighted(_KINDS)(draw)
