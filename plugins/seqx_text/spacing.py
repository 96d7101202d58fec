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
    "Chinese": re.compile(f"[{_HAN}{_KANA}]+"),  # Japanese uses these characters, too
    **{name: re.compile(f"[{letters}]+") for name, letters in OTHERS.items()},
}
_ANY_KANA = re.compile(f"[{_KANA}]")
_WORD = re.compile(r"[^\W\d_]+")
_MIN_RUN = {"Chinese": 3.0, "Yi": 3.0}  # minimum mean length of runs that contain several words
_MIN_RUN_OTHERS = 7.0
_MIN_KANA = 0.1  # minimum fraction of kana in Japanese
_MIN_LINES = 0.1  # minimum fraction of lines in such a script
_MAX_LINES = 2000  # maximum number of lines that are checked


def unspaced(texts: Sequence[str]) -> str | None:
    """Return the language if many texts have no spaces between words, else None.

    A line counts if more than half of its letters belong to a script without spaces. Text with short runs of
    such letters does not count, because its words are separated by spaces.
    """
    step = max(1, len(texts) // _MAX_LINES)
    lines = [text for text in texts[::step] if text.strip()]
    by_language = {name: [text for text in lines if _is_mostly(runs, text)] for name, runs in _RUNS.items()}
    name = max(by_language, key=lambda name: len(by_language[name]))
    unspaced_lines = by_language[name]
    if not unspaced_lines or len(unspaced_lines) < _MIN_LINES * len(lines):
        return None
    all_runs = [run for text in unspaced_lines for run in _RUNS[name].findall(text)]
    characters = "".join(all_runs)
    if len(characters) < _MIN_RUN.get(name, _MIN_RUN_OTHERS) * len(all_runs):
        return None
    kana = len(_ANY_KANA.findall(characters))
    return "Japanese" if name == "Chinese" and kana > _MIN_KANA * len(characters) else name


def warn_if_unspaced(
    references: Sequence[str], how: str, fits: Iterable[str] = (), advice: str = ""
) -> list[str]:
    """Return a warning if a metric does not split these references into words.

    Args:
        references: the references
        how: the metric and its tokenization, for the message
        fits: languages without spaces that the metric can split
        advice: what the user can do; by default settings of `bleu`
    """
    language = unspaced(references)
    if language is None or language in fits:
        return []
    own = {"Chinese": ["zh"], "Japanese": ["ja-mecab"]}.get(language, [])
    named = ", ".join(f"tokenize={name}" for name in [*own, "flores200", "char"])
    why = f"because {language} has no spaces between words, so the score means little"
    return [f"{how} does not split the references, {why}; {advice or f'set one of {named}'}"]


def _is_mostly(runs: re.Pattern[str], text: str) -> bool:
    inside = sum(map(len, runs.findall(text)))
    return inside > 0 and 2 * inside > sum(map(len, _WORD.findall(text)))
