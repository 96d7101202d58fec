"""English inflection: nouns, verbs, degrees of adjectives, the indefinite article."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

VerbForm = Literal["VB", "VBP", "VBZ", "VBD", "VBN", "VBG"]

_VOWELS = "aeiou"
_BE = {"VB": "be", "VBZ": "is", "VBN": "been", "VBG": "being"}
_DOUBLED_THOUGH_LONG = {"forget", "begin"}


def plural(noun: str) -> str:
    """Return the regular plural of a noun."""
    return _with_s(noun)


def _with_s(word: str) -> str:
    if re.search(r"(s|x|z|ch|sh|[^aeiou]o)$", word) and word not in {"piano", "photo"}:
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def _stem(verb: str) -> str:
    """Return the stem before -ed and -ing: a final consonant after one short stressed vowel is doubled."""
    short = re.fullmatch(r"[^aeiou]*(qu)?[aeiou][^aeiouwxy]", verb)
    return verb + verb[-1] if short or verb in _DOUBLED_THOUGH_LONG else verb


def participle(verb: str) -> str:
    """Return the regular past, which is also the past participle."""
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return _stem(verb) + "ed"


@cache
def gerund(verb: str) -> str:
    """Return the form with -ing."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return _stem(verb) + "ing"


@cache
def third(verb: str) -> str:
    """Return the third person singular of the present."""
    return {"have": "has", "do": "does", "go": "goes"}.get(verb) or _with_s(verb)


@cache
def be(form: VerbForm, person: int, *, plural: bool) -> str:
    """Return a form of "be"; "you" takes the plural."""
    if form == "VBP":
        return "am" if person == 1 and not plural else "are"
    if form == "VBD":
        return "were" if plural or person == 2 else "was"
    return _BE[form]


def compare(forms: Sequence[str]) -> tuple[str, str, str]:
    """Return positive, comparative and superlative, given the positive or all three."""
    if len(forms) == 3:
        return forms[0], forms[1], forms[2]
    word = forms[0]
    syllables = len(re.findall(r"[aeiouy]+", re.sub(r"e$", "", word)))
    if (syllables > 1 and not re.search(r"[^aeiou]y$|ow$|ever$", word)) or syllables > 2:
        return word, f"more {word}", f"most {word}"
    stem = participle(word)[:-2]
    return word, stem + "er", stem + "est"


def article(following: str) -> str:
    """Return the indefinite article, which depends on the next sound."""
    vowel = following[0] in _VOWELS and not following.startswith("uni")
    return "an" if vowel or following == "honest" else "a"
