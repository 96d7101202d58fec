"""Detect text without spaces between words, which most metrics do not split into words."""

import re
from collections.abc import Iterable, Sequence

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"
OTHERS = {
    "Thai": "\u0e01-\u0e4e",
    "Lao": "\u0e81-\u0ece\u0edc-\u0edf",
    "Khmer": "\u1780-\u17d3",
    "Burmese": "\u1000-\u104f\uaa60-\uaa7f\ua9e0-\ua9fe",
    "Tibetan": "\u0f00-\u0f14\u0f40-\u0fbc",
    "Javanese": "\ua980-\ua9c0",
    "Balinese": "\u1b00-\u1b4b",
    "Tai": "\u1950-\u19df\u1a20-\u1aad\uaa80-\uaadf",
    "Yi": "\ua000-\ua48c",
}
_RUNS = {
    "Chinese": re.compile(f"[{_HAN}{_KANA}]+"),  # Japanese has the same characters, and more
    **{name: re.compile(f"[{letters}]+") for name, letters in OTHERS.items()},
}
_ANY_KANA = re.compile(f"[{_KANA}]")
_WORD = re.compile(r"[^\W\d_]+")
_LONG = {"Chinese": 3.0, "Yi": 3.0}  # mean length of runs from which on they are not single words
_LONG_OTHERS = 7.0
_JAPANESE = 0.1  # share of kana among its characters
_LINES = 0.1  # the smallest share of lines in such a script
_MOST = 2000  # the most lines that are checked


def unspaced(texts: Sequence[str]) -> str | None:
    """Return the language if many texts have no spaces between words, else None.

    A line counts if more than half of its letters are of such a script, so that a name in other text does not
    count. Short runs show that the words are separated by spaces; such text does not count.
    """
    step = max(1, len(texts) // _MOST)
    lines = [text for text in texts[::step] if text.strip()]
    found = {name: [text for text in lines if _mostly(runs, text)] for name, runs in _RUNS.items()}
    name = max(found, key=lambda name: len(found[name]))
    inside = found[name]
    if not inside or len(inside) < _LINES * len(lines):
        return None
    stretches = [run for text in inside for run in _RUNS[name].findall(text)]
    characters = "".join(stretches)
    if len(characters) < _LONG.get(name, _LONG_OTHERS) * len(stretches):
        return None
    kana = len(_ANY_KANA.findall(characters))
    return "Japanese" if name == "Chinese" and kana > _JAPANESE * len(characters) else name


def remarks(references: Sequence[str], how: str, fits: Iterable[str] = (), advice: str = "") -> list[str]:
    """Return a warning if a metric does not split these references into words.

    Args:
        references: the right answers
        how: the metric, and how it splits text
        fits: languages without spaces that it splits
        advice: what to do; "" names settings of `bleu`
    """
    language = unspaced(references)
    if language is None or language in fits:
        return []
    own = {"Chinese": ["zh"], "Japanese": ["ja-mecab"]}.get(language, [])
    named = ", ".join(f"tokenize={name}" for name in [*own, "flores200", "char"])
    why = f"because {language} has no spaces between words, and the score means little"
    return [f"{how} does not split the references, {why}; {advice or f'set one of {named}'}"]


def _mostly(runs: re.Pattern[str], text: str) -> bool:
    inside = sum(map(len, runs.findall(text)))
    return inside > 0 and 2 * inside > sum(map(len, _WORD.findall(text)))
