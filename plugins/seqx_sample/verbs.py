"""Tenses: the verb group of a clause in each language."""

from typing import Literal

from . import english, german
from .words import Verb

Tense = Literal[
    "present",
    "past",
    "perfect",
    "pluperfect",
    "future",
    "progressive",
    "past progressive",
    "can",
    "could",
    "must",
    "had to",
    "may",
    "should",
    "want",
    "wanted",
]

MODALS: dict[Tense, tuple[str, german.Finite]] = {
    "can": ("können", "present"),
    "could": ("können", "past"),
    "must": ("müssen", "present"),
    "had to": ("müssen", "past"),
    "may": ("dürfen", "present"),
    "should": ("sollen", "past"),
    "want": ("wollen", "present"),
    "wanted": ("wollen", "past"),
}
_ENGLISH_MODALS = {"can", "could", "must", "may", "should"}
_FULL_MODALS = {
    "had to": ("have", "had", "past"),
    "want": ("want", "wanted", "present"),
    "wanted": ("want", "wanted", "past"),
}

Tagged = tuple[str, str]


def _form(verb: str, past: str, form: str, person: int, *, plural: bool) -> Tagged:
    plural = plural or person == 2
    tag: english.VerbForm = "VBD" if form == "past" else "VBZ" if person == 3 and not plural else "VBP"
    if verb == "be":
        return tag, english.be(tag, person, plural=plural)
    return tag, past if tag == "VBD" else english.third(verb) if tag == "VBZ" else verb


def english_verbs(
    verb: Verb, tense: Tense, person: int, *, plural: bool, passive: bool = False, support: bool = False
) -> list[Tagged]:
    """Return the tagged verbs, the finite one first; `support` adds "do" if there is no auxiliary."""

    def finite(name: str, past: str, form: str) -> Tagged:
        return _form(name, past, form, person, plural=plural)

    base: list[Tagged] = [("VB", verb.english)]
    done: list[Tagged] = [("VBN", verb.english_participle)]
    if passive:
        base, done = [("VB", "be"), *done], [("VBN", "been"), *done]
    if tense == "future" or tense in _ENGLISH_MODALS:
        return [("MD", "will" if tense == "future" else tense), *base]
    if tense in _FULL_MODALS:
        modal, past, form = _FULL_MODALS[tense]
        finites = [finite("do", "did", form), ("VB", modal)] if support else [finite(modal, past, form)]
        return [*finites, ("TO", "to"), *base]
    form = "past" if tense in {"past", "pluperfect", "past progressive"} else "present"
    match tense:
        case "perfect" | "pluperfect":
            verbs = [finite("have", "had", form), *done]
        case "progressive" | "past progressive":
            verbs = [finite("be", "", form), ("VBG", english.gerund(verb.english))]
        case _ if passive:
            verbs = [finite("be", "", form), done[1]]
        case _ if support and verb.english != "be":
            verbs = [finite("do", "did", form), *base]
        case _:
            verbs = [finite(verb.english, verb.english_past, form)]
    return verbs


def german_verbs(
    verb: Verb, tense: Tense, person: int, *, plural: bool, passive: bool = False
) -> tuple[str, str, list[str]]:
    """Return the finite verb, its separable prefix, and the other verbs in the order of the clause's end."""

    def auxiliary(name: str, form: german.Finite) -> str:
        return german.auxiliary(name, form, person, plural=plural)

    base = [german.infinitive(verb)]
    if passive:
        base = [german.participle(verb), "werden"]
    form: german.Finite = "past" if tense in {"past", "past progressive", "pluperfect"} else "present"
    if tense in MODALS:
        return auxiliary(*MODALS[tense]), "", base
    if tense == "future":
        return auxiliary("werden", form), "", base
    if tense in {"perfect", "pluperfect"}:
        name = "sein" if passive else verb.auxiliary
        return auxiliary(name, form), "", [german.participle(verb), *(["worden"] if passive else [])]
    if passive:
        return auxiliary("werden", form), "", [german.participle(verb)]
    return german.finite(verb, form, person, plural=plural), verb.prefix, []
