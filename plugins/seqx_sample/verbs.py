"""Tenses: the verbs of a clause in each language, from the finite one on."""

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
_FULL_MODALS = {"had to": ("have", "past"), "want": ("want", "present"), "wanted": ("want", "past")}

Tagged = tuple[str, str]


def _form(verb: str, past: str, form: str, person: int, *, plural: bool) -> Tagged:
    plural = plural or person == 2  # noqa: PLR2004
    tag: english.VerbForm = "VBD" if form == "past" else "VBZ" if person == 3 and not plural else "VBP"  # noqa: PLR2004
    if verb == "be":
        return tag, english.be(tag, person, plural=plural)
    return tag, past if tag == "VBD" else english.third(verb) if tag == "VBZ" else verb


def english_verbs(
    verb: Verb, tense: Tense, person: int, *, plural: bool, passive: bool = False, support: bool = False
) -> list[Tagged]:
    """Tagged verbs, the finite one first; `support` asks for an auxiliary (in questions and before "not")."""

    def finite(name: str, past: str, form: str) -> Tagged:
        return _form(name, past, form, person, plural=plural)

    base: list[Tagged] = [("VB", verb.english)]
    done: list[Tagged] = [("VBN", verb.english_participle)]
    if passive:
        base, done = [("VB", "be"), *done], [("VBN", "been"), *done]
    if tense in {"present", "past"}:
        if passive:
            return [finite("be", "", tense), done[1]]
        if support and verb.english != "be":
            return [finite("do", "did", tense), *base]
        return [finite(verb.english, verb.english_past, tense)]
    if tense in {"perfect", "pluperfect"}:
        return [finite("have", "had", "present" if tense == "perfect" else "past"), *done]
    if tense in {"progressive", "past progressive"}:
        form = "present" if tense == "progressive" else "past"
        return [finite("be", "", form), ("VBG", english.gerund(verb.english))]
    if tense == "future":
        return [("MD", "will"), *base]
    if tense in _ENGLISH_MODALS:
        return [("MD", tense), *base]
    modal, form = _FULL_MODALS[tense]
    if support:
        return [finite("do", "did", form), ("VB", modal), ("TO", "to"), *base]
    return [finite(modal, "had" if modal == "have" else "wanted", form), ("TO", "to"), *base]


def german_verbs(
    verb: Verb, tense: Tense, person: int, *, plural: bool, passive: bool = False
) -> tuple[str, str, list[str]]:
    """The finite verb, its separable prefix, and the other verbs in the order they have at the end of the clause."""

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
