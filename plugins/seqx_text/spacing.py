"""Text without spaces between words, which metrics that split at spaces take for a few very long words."""

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
_LONG = {"Chinese": 3.0, "Yi": 3.0}  # characters of a run, on an average, from which on it is no word
_LONG_OTHERS = 7.0
_JAPANESE = 0.1  # share of kana among its characters
_LINES = 0.1  # share of the lines that must be in such a script
_MOST = 2000  # lines that are looked at


def unspaced(texts: Sequence[str]) -> str | None:
    """The language of most of the texts that have no spaces between words; None if these are few.

    A line counts when such characters are more than half of its letters; a name in other text does not. Text
    whose words were set apart before, as the length of its runs tells, is no such text.
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
    """Say that a metric does not split these references, and what would.

    Args:
        references: the right answers
        how: names the metric, and how it splits text
        fits: languages without spaces that it splits all the same
        advice: what to do; "" names the settings of `bleu`
    """
    language = unspaced(references)
    if language is None or language in fits:
        return []
    own = {"Chinese": ["zh"], "Japanese": ["ja-mecab"]}.get(language, [])
    named = ", ".join(f"tokenize={name}" for name in [*own, "flores200", "char"])
    why = f"the references, whose {language} has no spaces between words: the score says little"
    return [f"{how} does not split {why}; {advice or f'set one of {named}'}"]


def _mostly(runs: re.Pattern[str], text: str) -> bool:
    inside = sum(map(len, runs.findall(text)))
    return inside > 0 and 2 * inside > sum(map(len, _WORD.findall(text)))
