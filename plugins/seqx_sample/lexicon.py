"""The lexicon of the sample, read from the text tables in this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from . import english, german
from .phrase_tree import parse
from .words import Adjective, Adverbial, Case, Frame, Gender, Noun, Preposition, Verb

TABLES = ("nouns.txt", "names.txt", "adjectives.txt", "verbs.txt", "adverbials.txt", "sentiment.txt")


def lines(name: str) -> Iterator[str]:
    """Yield the lines of a table without its comments and empty lines."""
    for line in resources.files(__package__).joinpath(name).read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            yield line


def _classes(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def _noun(line: str) -> Noun:
    forms, nominative, gender, plural, classes, *marks = line.split()
    singular, _, irregular = forms.partition("/")
    return Noun(
        english=singular,
        english_plural="" if plural == "-" else irregular or english.plural(singular),
        german=nominative,
        german_plural="" if plural == "-" else plural,
        gender=gender,  # type: ignore[arg-type]  # the tests check the table
        classes=_classes(classes) | {singular},
        sex="he" if "he" in marks else "she" if "she" in marks else None if "person" in classes else "it",
        weak="weak" in marks,
        genitive=next((mark[4:] for mark in marks if mark.startswith("gen=")), ""),
    )


def _name(line: str) -> Noun:
    name, sex = line.split()
    gender: Gender = "f" if sex == "she" else "m"
    return Noun(name, "", name, "", gender, frozenset({"person"}), "she" if sex == "she" else "he")


def _adjective(line: str) -> Adjective:
    english_forms, german_forms, classes = line.split()
    return Adjective(
        english.compare(english_forms.split("/")), german.compare(german_forms.split("/")), _classes(classes)
    )


def _frame(text: str) -> Frame:
    kind, subject, *objects = text.split()
    preposition = None
    if kind == "P":
        *objects, english_preposition, governing = objects
        german_preposition, case = governing.split("+")
        full_case: Case = "accusative" if case == "acc" else "dative"
        preposition = Preposition(english_preposition, german_preposition, full_case)
    return Frame(kind, _classes(subject), tuple(map(_classes, objects)), preposition)


def _verb(line: str) -> Verb:
    english_parts, german_parts, frames, manners, *_ = [part.strip() for part in [*line.split("|"), ""]]
    verb, *irregular = english_parts.split()
    verb, _, particle = verb.partition("+")
    regular = english.participle(verb)
    past, participle = irregular or (regular, regular)
    *stems, last = german_parts.split()
    moves = last == "sein"
    stems = stems if moves else [*stems, last]
    prefix, _, infinitive = stems[0].rpartition("=")
    third, german_past, german_participle = stems[1:] or german.principal_parts(infinitive)
    return Verb(
        english=verb,
        english_past=past,
        english_participle=participle,
        particle=particle,
        german=infinitive,
        german_third=third,
        german_past=german_past,
        german_participle=german_participle,
        prefix=prefix,
        auxiliary="sein" if moves else "haben",
        frames=tuple(map(_frame, frames.split(";"))),
        manners=_classes(manners) if manners else frozenset(),
    )


def _adverbial(line: str) -> Adverbial:
    kind, english_tree, german_words, uses = [part.strip() for part in line.split("|")]
    return Adverbial(kind, parse(english_tree), german_words, _classes(uses))


@dataclass(frozen=True)
class Lexicon:
    """All words of the sample, by part of speech, in the order of the tables."""

    nouns: tuple[Noun, ...]
    names: tuple[Noun, ...]
    adjectives: tuple[Adjective, ...]
    verbs: tuple[Verb, ...]
    adverbials: tuple[Adverbial, ...]

    def __len__(self) -> int:
        """Return the number of words."""
        parts = (self.nouns, self.names, self.adjectives, self.verbs, self.adverbials)
        return sum(map(len, parts))


@cache
def lexicon() -> Lexicon:
    """Return the lexicon, which is read once."""
    return Lexicon(
        tuple(map(_noun, lines("nouns.txt"))),
        tuple(map(_name, lines("names.txt"))),
        tuple(map(_adjective, lines("adjectives.txt"))),
        tuple(map(_verb, lines("verbs.txt"))),
        tuple(map(_adverbial, lines("adverbials.txt"))),
    )
