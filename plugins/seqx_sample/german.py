"""German inflection: articles, adjectives, nouns, pronouns and verbs."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

from .words import Case, Gender, Noun, Verb

Declension = Literal["strong", "weak", "mixed"]
Finite = Literal["present", "past"]

_CASES: tuple[Case, ...] = ("nominative", "accusative", "dative", "genitive")
# Columns: masculine, feminine, neuter, plural; rows: the cases above.
_ENDINGS: dict[Declension, tuple[str, str, str, str]] = {
    "strong": ("er e es e", "en e es e", "em er em en", "en er en er"),
    "weak": ("e e e en", "en e e en", "en en en en", "en en en en"),
    "mixed": ("er e es en", "en e es en", "en en en en", "en en en en"),
}
_ARTICLES = {
    "der": ("der die das die", "den die das die", "dem der dem den", "des der des der"),
    "relative": ("der die das die", "den die das die", "dem der dem denen", "dessen deren dessen deren"),
    "dies": ("er e es e", "en e es e", "em er em en", "es er es er"),
    "ein": ("- e - e", "en e - e", "em er em en", "es er es er"),
}
_PRONOUNS = {
    (1, False): "ich mich mir",
    (2, False): "du dich dir",
    (1, True): "wir uns uns",
    (3, True): "sie sie ihnen",
}
_THIRD = {"m": "er ihn ihm", "f": "sie sie ihr", "n": "es es ihm"}
_CONTRACTIONS = {
    "in dem": "im",
    "an dem": "am",
    "zu dem": "zum",
    "zu der": "zur",
    "von dem": "vom",
    "bei dem": "beim",
    "in das": "ins",
}
_IRREGULAR_PRESENT = {
    "sein": "bin bist ist sind",
    "haben": "habe hast hat haben",
    "werden": "werde wirst wird werden",
    "können": "kann kannst kann können",
    "müssen": "muss musst muss müssen",
    "dürfen": "darf darfst darf dürfen",
    "wollen": "will willst will wollen",
    "sollen": "soll sollst soll sollen",
    "mögen": "mag magst mag mögen",
}
_PASTS = {
    "sein": "war",
    "haben": "hatte",
    "werden": "wurde",
    "können": "konnte",
    "müssen": "musste",
    "dürfen": "durfte",
    "wollen": "wollte",
    "sollen": "sollte",
}
_SIBILANT = ("s", "ß", "z", "x")


def _cell(table: tuple[str, str, str, str], case: Case, gender: Gender, plural: bool) -> str:
    ending = table[_CASES.index(case)].split()[3 if plural else "mfn".index(gender)]
    return "" if ending == "-" else ending


@cache
def definite(case: Case, gender: Gender, *, plural: bool) -> str:
    """Return the definite article."""
    return _cell(_ARTICLES["der"], case, gender, plural)


@cache
def relative(case: Case, gender: Gender, *, plural: bool) -> str:
    """Return the relative pronoun."""
    return _cell(_ARTICLES["relative"], case, gender, plural)


@cache
def determiner(stem: str, case: Case, gender: Gender, *, plural: bool) -> str:
    """Return an inflected determiner: "dies" and "welch" inflect like "der"; "kein" and "mein" like "ein"."""
    table = "ein" if stem in {"ein", "kein", "mein", "dein", "sein", "ihr", "unser"} else "dies"
    return stem + _cell(_ARTICLES[table], case, gender, plural)


@cache
def adjective_ending(declension: Declension, case: Case, gender: Gender, *, plural: bool) -> str:
    """Return the ending of an adjective before its noun."""
    return _cell(_ENDINGS[declension], case, gender, plural)


@cache
def attributive(form: str) -> str:
    """Return the stem before an ending: "teur" of "teuer", "dunkl" of "dunkel", "müd" of "müde"."""
    if form.endswith("e"):
        return form[:-1]
    return re.sub(r"(?<=[ae]u)e(?=r$)|(?<=k)e(?=l$)", "", form)


def compare(forms: Sequence[str]) -> tuple[str, str, str]:
    """Return positive, comparative and superlative stem, given the positive or all three."""
    if len(forms) == 3:
        return forms[0], forms[1], forms[2]
    word = forms[0]
    linked = re.search(r"([tdszßx]|sch)$", word) and not word.endswith("end")
    return word, attributive(word) + "er", word + ("est" if linked else "st")


@cache
def noun(word: Noun, case: Case, *, plural: bool) -> str:
    """Return a noun in its case and number."""
    if plural:
        form = word.german_plural
        return form if case != "dative" or form.endswith(("n", "s")) else form + "n"
    if word.weak and case != "nominative":
        return word.german_plural
    if case == "genitive" and word.gender != "f":
        return word.genitive or _genitive(word.german)
    return word.german


def _genitive(word: str) -> str:
    if word.endswith("nis"):
        return word + "ses"
    if word.endswith(_SIBILANT) or len(re.findall(r"[aeiouyäöü]+", word.lower())) == 1:
        return word + ("s" if word[-1] in "aeiou" else "es")
    return word + "s"


@cache
def pronoun(person: int, case: Case, gender: Gender, *, plural: bool) -> str:
    """Return a personal pronoun; the second person is "du"."""
    forms = _THIRD[gender] if person == 3 and not plural else _PRONOUNS[person, plural]
    return forms.split()[_CASES.index(case)]


@cache
def contract(preposition: str, article: str) -> str:
    """Merge a preposition with the definite article, if German does so."""
    pair = f"{preposition} {article}"
    return _CONTRACTIONS.get(pair, pair)


# Verbs. (person, plural) identifies a cell of a paradigm; polite forms are not used.


def _link(stem: str) -> str:
    """Return the vowel that makes the ending pronounceable after this stem, or ""."""
    return "e" if re.search(r"([td]|[^lrmnaeiouäöüh][nm]|ch[nm])$", stem) else ""


def _present_stem(infinitive: str) -> str:
    return infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]


def principal_parts(infinitive: str) -> tuple[str, str, str]:
    """Return the third person of present and past, and the participle, of a weak verb."""
    stem = _present_stem(infinitive)
    end = _link(stem) + "t"
    bare = re.match(r"(be|ver|er|zer)(?!(.)\2)", infinitive) or infinitive.endswith("ieren")
    return stem + end, stem + end + "e", ("" if bare else "ge") + stem + end


@cache
def present(infinitive: str, third: str, person: int, *, plural: bool) -> str:
    """Return a form of the present."""
    if infinitive in _IRREGULAR_PRESENT:
        return _IRREGULAR_PRESENT[infinitive].split()[3 if plural else person - 1]
    stem = _present_stem(infinitive)
    if plural:
        return infinitive
    if person == 1:
        return re.sub(r"(?<=[^aeiou])el$", "l", stem) + "e"
    if person == 3:
        return third
    if third == stem + _link(stem) + "t":
        return stem + _link(stem) + ("t" if stem.endswith(_SIBILANT) else "st")
    base = third if stem.endswith(("t", "d")) and not third.endswith("dt") else third[:-1]
    return base + ("t" if base.endswith(_SIBILANT) else "st")


@cache
def past(form: str, person: int, *, plural: bool) -> str:
    """Return a form of the simple past, given its third person."""
    if plural:
        return form + ("n" if form.endswith("e") else "en")
    if person == 2:
        linked = form.endswith(("t", "d", *_SIBILANT))
        return form + ("est" if linked else "st")
    return form


def finite(verb: Verb, tense: Finite, person: int, *, plural: bool) -> str:
    """Return a finite form of a verb, without its separable prefix."""
    if tense == "past":
        return past(verb.german_past, person, plural=plural)
    return present(verb.german, verb.german_third, person, plural=plural)


def auxiliary(infinitive: str, tense: Finite, person: int, *, plural: bool) -> str:
    """Return a finite form of an auxiliary or modal verb."""
    if tense == "past":
        return past(_PASTS[infinitive], person, plural=plural)
    return present(infinitive, "", person, plural=plural)


def participle(verb: Verb) -> str:
    """Return the past participle, with the separable prefix."""
    return verb.prefix + verb.german_participle


def infinitive(verb: Verb, *, zu: bool = False) -> str:
    """Return the infinitive; "zu" goes between prefix and stem ("aufzustehen")."""
    if zu:
        return f"{verb.prefix}zu{verb.german}" if verb.prefix else f"zu {verb.german}"
    return verb.prefix + verb.german


@cache
def imperative(verb: Verb) -> str:
    """Return the imperative of the second person singular, without the separable prefix."""
    stem = _present_stem(verb.german)
    changed = verb.german_third[:-1]
    # "lesen, liest" becomes "lies", but "fahren, fährt" becomes "fahr".
    if re.search(r"e[^aeiou]*$", stem) and re.search(r"ie?[^aeiou]*$", changed):
        return changed
    linked = _link(stem) or re.search(r"[^aeiou]e[lr]$", stem)
    return present(verb.german, "", 1, plural=False) if linked else stem
