"""Detection of text without spaces between words, which most metrics cannot split into words."""

import re
from collections.abc import Iterable, Sequence

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"
OTHER_SCRIPTS = {
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
# sequences of letters of each script without spaces, which may contain several words
_RUNS = {
    "Chinese": re.compile(f"[{_HAN}{_KANA}]+"),  # Japanese uses these characters, too
    **{name: re.compile(f"[{letters}]+") for name, letters in OTHER_SCRIPTS.items()},
}
_ANY_KANA = re.compile(f"[{_KANA}]")
_WORD = re.compile(r"[^\W\d_]+")
_MIN_RUN = {"Chinese": 3.0, "Yi": 3.0}  # minimum mean length of such sequences if words have no spaces
_MIN_RUN_OTHERS = 7.0
_MIN_KANA = 0.1  # minimum fraction of kana in Japanese
_MIN_LINES = 0.1  # minimum fraction of lines in a script without spaces
_MAX_LINES = 2000  # maximum number of lines that are checked


def language_without_spaces(texts: Sequence[str]) -> str | None:
    """Return the language of the texts if many of them have no spaces between words, else None.

    A line counts if more than half of its letters belong to a script without spaces. If the sequences of such
    letters are short on average, the words are separated by spaces, and the result is None.
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
    references: Sequence[str], tokenization: str, splittable: Iterable[str] = (), advice: str = ""
) -> list[str]:
    """Return a warning if a metric does not split these references into words.

    Args:
        references: the references
        tokenization: the metric and its tokenization, for the message
        splittable: languages without spaces that the metric can split into words
        advice: advice to the user; by default it names settings of `bleu`
    """
    language = language_without_spaces(references)
    if language is None or language in splittable:
        return []
    special = {"Chinese": ["zh"], "Japanese": ["ja-mecab"]}.get(language, [])
    settings = ", ".join(f"tokenize={name}" for name in [*special, "flores200", "char"])
    reason = f"because {language} has no spaces between words; such a score means little"
    advice = advice or f"set one of {settings}"
    return [f"{tokenization} does not split the references into words, {reason}; {advice}"]


def _is_mostly(runs: re.Pattern[str], text: str) -> bool:
    """Return true if more than half of the letters of a text belong to a script."""
    inside = sum(map(len, runs.findall(text)))
    return inside > 0 and 2 * inside > sum(map(len, _WORD.findall(text)))
