"""Choose sentences of all kinds, with the probabilities in `_KINDS`."""

from dataclasses import replace

from .choose_clauses import (
    MAN,
    PAST,
    PRESENT,
    Subject,
    Tenses,
    allows_time,
    clause,
    is_state,
    negatable,
    subject,
    tense_for,
    when,
    where,
    with_relative_clause,
)
from .choose_phrases import common, person, phrase_of, place, pronoun_for
from .choose_predicates import action
from .clauses import Clause, Saying
from .draw import Draw, adverbials, frames, frames_with_object, nouns
from .phrases import Common, Interrogative, NounPhrase, PrepositionalPhrase, Pronoun, WhichOne
from .predicates import Dative, Intransitive, Predicate, Prepositional, Transitive, Trying
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
from .verbs import Tense
from .words import Verb

_IT = Pronoun(3, plural=False)
_YOU = Pronoun(2, plural=False)
_CONJUNCTIONS = {"because": 5, "although": 3, "if": 4, "when": 3, "while": 2, "before": 2, "after": 2}
_MAIN_TENSES_OF_IF: Tenses = {"present": 3, "future": 4, "can": 2, "must": 2, "may": 1}
_REASONS = {"because", "although"}
# verbs of getting, for the first of two chained actions
_GETTING = {"buy", "find", "steal", "look", "bring", "take"}
# verbs of actions that nobody intends or requests
_UNWANTED = {"lose", "steal", "dream", "make", "break", "forget", "paint", "complain", "argue"}
_OBJECTS = frozenset({"thing", "food", "drink", "text", "private"})
_SIGHTS = frozenset({"animal", "thing", "furniture", "person", "building", "vehicle"})
_SOME = {"bare": 2, "many": 2, "some": 2, "two": 1, "three": 1, "five": 1, "ten": 1}


def _statement(draw: Draw) -> Sentence:
    """Draw a main clause, sometimes with a relative clause on its subject or object."""
    if draw.chance(0.3):
        who, noun = subject(draw, pronouns=0)
        return Statement(clause(draw, who=(with_relative_clause(draw, who), noun), adverbs=0.15, states=0.35))
    result = clause(draw)
    predicate = result.predicate
    has_no_adverbials = not (result.place or result.manner or result.time)
    if isinstance(predicate, Transitive) and has_no_adverbials and draw.chance(0.35):
        result = replace(
            result, predicate=replace(predicate, object=with_relative_clause(draw, predicate.object))
        )
    return Statement(result)


def _fronted(draw: Draw) -> Sentence:
    """Draw a main clause that begins with an adverbial."""
    who = subject(draw)
    result = clause(draw, who=who, adverbs=0.15, states=0.03)
    is_action = not result.predicate.verb.stative
    if is_action and result.time is None and allows_time(result.tense) and draw.chance(0.75):
        habit = not result.negated and result.frequency is None
        return Fronted(when(draw, result.tense, habit=habit), result)
    if is_action and result.place is None and isinstance(result.predicate, Transitive | Intransitive):
        adverbial = where(draw, result, who[1])
        if adverbial and not result.negated:
            return Fronted(adverbial, result)
    if result.frequency is None and result.tense in {"present", "past"} and not result.negated:
        options = [each for each in adverbials("frequency") if each.german in {"manchmal", "normalerweise"}]
        return Fronted(draw.pick(options), result)
    return Statement(result)


def _yes_no(draw: Draw) -> Sentence:
    """Draw a yes/no question."""
    return YesNo(replace(clause(draw), negated=False))


def _wh_question(draw: Draw) -> Sentence:
    """Draw a question about the subject or an object."""
    if draw.chance(0.35):
        result = clause(draw, who=(Interrogative(personal=True), MAN))
        return WhQuestion(replace(result, negated=False))
    verb, frame = draw.pick([each for each in frames("TDP") if "person" in each[1].subject])
    noun = draw.pick(nouns(frame.objects[0]))
    personal = "person" in noun.classes
    asked: NounPhrase = Interrogative(personal=personal)
    if draw.chance(0.4) or (frame.kind == "P" and not personal) or "animal" in noun.classes:
        asked = WhichOne(Common("which", None, 0, noun, plural=not noun.mass and draw.chance(0.3)))
    predicate: Predicate = Dative(verb, asked) if frame.kind == "D" else Transitive(verb, asked)
    if frame.kind == "P":
        assert frame.preposition is not None
        predicate = Prepositional(verb, PrepositionalPhrase(frame.preposition, asked))
    who = person(draw, pronouns=0.4, definite=True)
    tense = tense_for(draw, predicate, who)
    time = when(draw, tense) if allows_time(tense) and not verb.stative and draw.chance(0.4) else None
    return WhQuestion(Clause(who, predicate, tense, time=time))


def _adverb_question(draw: Draw) -> Sentence:
    """Draw a question about place, time or reason."""
    word = draw.pick(["where", "when", "why"])
    result = clause(draw, adverbs=0.3 if word == "why" else 0, states=0.05)
    is_lasting = (
        is_state(result) or result.predicate.verb.stative or isinstance(result.predicate, Prepositional)
    )
    result = replace(result, negated=False, frequency=None)
    return AdverbQuestion("why" if is_lasting else word, result)


def _subordinated(draw: Draw) -> Sentence:
    """Draw two clauses with a conjunction; a pronoun in the second may refer to the subject of the first."""
    conjunction = draw.weighted(_CONJUNCTIONS)
    past = draw.chance(0.5) if conjunction in _REASONS else conjunction != "if"
    who = subject(draw)
    reason = conjunction in _REASONS
    main_tenses = _MAIN_TENSES_OF_IF if conjunction == "if" else PAST if past else PRESENT
    main = clause(draw, who=who, adverbs=0, tenses=main_tenses, states=0.12 if reason else 0, temporary=True)
    pronoun = pronoun_for(who[0])
    same = pronoun is not None and draw.chance(0.55)
    other = (pronoun, who[1]) if pronoun and same else subject(draw)
    subordinate = _subordinate_clause(
        draw, conjunction, other, past=past, states=0 if is_state(main) else 0.4
    )
    if conjunction == "because" or draw.chance(0.55):
        return Subordinated(main, conjunction, subordinate)
    if pronoun and subordinate.subject == pronoun:
        main, subordinate = replace(main, subject=pronoun), replace(subordinate, subject=main.subject)
    return Preposed(conjunction, subordinate, main)


def _subordinate_clause(draw: Draw, conjunction: str, who: Subject, *, past: bool, states: float) -> Clause:
    weather = {"if": 0.12, "because": 0.06, "although": 0.06}.get(conjunction, 0)
    tense: Tense = "past" if past else "present"
    if draw.chance(weather):
        verb, _ = draw.pick(frames("Z"))
        return Clause(_IT, Intransitive(verb), "past" if past else draw.pick(("present", "progressive")))
    if conjunction in _REASONS:
        return clause(
            draw, who=who, adverbs=0, tenses=PAST if past else PRESENT, states=states, temporary=True
        )
    if conjunction == "if":
        return clause(draw, who=who, adverbs=0, tenses={tense: 1}, states=states, temporary=True)
    kinds = "ITDRPMFLU" if draw.chance(0.5) else "IMFL"

    tenses: Tenses = {"pluperfect": 1} if conjunction == "after" else {tense: 1}
    return clause(draw, who=who, adverbs=0, tenses=tenses, states=0, kinds=kinds)


def _saying(draw: Draw) -> Sentence:
    """Draw a sentence with a clause as its object: somebody says, knows or asks something."""
    who = person(draw, pronouns=0.35)
    verb, frame = draw.pick(frames("CW"))
    hope = verb.english == "hope"
    past = not hope and draw.chance(0.4)
    tenses: Tenses = (
        {"future": 5, "present": 2, "can": 2} if hope else PAST if past else {**PRESENT, "future": 3}
    )
    pronoun = pronoun_for(who)
    other = (pronoun, MAN) if pronoun and draw.chance(0.35) else subject(draw)
    inner = clause(draw, who=other, adverbs=0.1, tenses=tenses, states=0.25)
    predicate = Saying(verb, "whether" if frame.kind == "W" else "that", inner)
    negated = not hope and negatable(who) and draw.chance(0.1)
    return Statement(Clause(who, predicate, "past" if past else "present", negated=negated))


def _trying(draw: Draw) -> Sentence:
    """Draw a sentence with an infinitive clause."""
    who = person(draw, pronouns=0.3)
    verb, _ = draw.pick(frames("N"))
    inner = _intended_action(draw, who, "TDRPM")
    tense: Tense = draw.weighted({"present": 4, "past": 4, "perfect": 2})
    result = Clause(who, Trying(verb, inner), tense, negated=negatable(who) and draw.chance(0.08))
    if tense == "past" and draw.chance(0.25):
        return Fronted(when(draw, tense), result)
    return Statement(result)


def _intended_action(draw: Draw, who: NounPhrase, kinds: str) -> Predicate:
    """Draw an action that a person may intend."""
    while True:
        predicate, _ = action(draw, MAN, who, kinds=kinds)
        if not predicate.verb.stative and predicate.verb.english not in _UNWANTED:
            return predicate


def _joined(draw: Draw) -> Sentence:
    """Draw two coordinated main clauses."""
    tenses = draw.pick((PAST, PRESENT))
    first = clause(draw, who=subject(draw), adverbs=0.1, tenses=tenses, states=0.2)
    second = clause(draw, who=subject(draw), adverbs=0, tenses=tenses, states=0.2)
    return Joined(first, draw.pick(("and", "but")), second)


def _chained(draw: Draw) -> Sentence:
    """Draw two actions of one person with the same object."""
    firsts: list[Verb] = []
    while not firsts:
        noun = draw.pick(nouns(_OBJECTS))
        verbs = [verb for verb, _ in frames_with_object(noun, "T") if not verb.stative]
        firsts = [verb for verb in verbs if verb.english in _GETTING]
    first = draw.pick(firsts)
    second = draw.pick([verb for verb in verbs if verb.english not in _GETTING])
    who, phrase = person(draw, pronouns=0.25), phrase_of(draw, noun)
    pronoun = pronoun_for(phrase)
    assert pronoun is not None
    tense: Tense = "past" if second.english_past != second.english and draw.chance(0.6) else "present"
    time = when(draw, tense) if draw.chance(0.2) else None
    one = Clause(who, Transitive(first, phrase), tense, time=time)
    return Chained(one, Clause(who, Transitive(second, pronoun), tense))


def _request(draw: Draw) -> Sentence:
    """Draw a request."""
    return Imperative(_intended_action(draw, _YOU, "TDRPMU"))


def _existence(draw: Draw) -> Sentence:
    """Draw a sentence with "there is", or its negation."""
    phrase = common(draw, _SIGHTS, owned=0)
    assert isinstance(phrase, Common)
    some = "no" if draw.chance(0.2) else draw.weighted(_SOME)
    phrase = replace(phrase, determiner=some if phrase.plural else "a", degree=0)
    return Existence(phrase, place(draw), draw.pick(("present", "past")))


_KINDS = {
    _statement: 34,
    _fronted: 16,
    _yes_no: 7,
    _wh_question: 7,
    _adverb_question: 5,
    _subordinated: 14,
    _saying: 6,
    _trying: 5,
    _joined: 3,
    _chained: 4,
    _request: 3,
    _existence: 4,
}


def sentence(draw: Draw) -> Sentence:
    """Draw one sentence of any kind."""
    return draw.weighted(_KINDS)(draw)
