"""Moses' text processing: its conventions, real captions, and a missing package."""

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

import seqx
from seqx_text import Lowercase, MosesPunctuation, MosesTokens, UnicodeForm
from seqx_text.moses import Language


def captions(lang: Language) -> list[seqx.Normalizer]:
    return [MosesPunctuation(lang=lang), Lowercase(), MosesTokens(lang=lang)]


def normalize(normalizers: list[seqx.Normalizer], text: str) -> str:
    for normalizer in normalizers:
        text = normalizer(text)
    return text


@pytest.mark.parametrize(
    ("lang", "raw", "expected"),
    [
        ("en", "Two young, White males are outside.", "two young , white males are outside ."),
        (
            "en",
            "A man's “hat” – it’s blue-green!",
            "a man &apos;s &quot; hat &quot; - it &apos;s blue-green !",
        ),
        ("en", "Mr. Smith [left] & came.", "mr. smith &#91; left &#93; &amp; came ."),
        ("de", "Der Mann – z.B. Hans – hat „Hunger“.", "der mann - z.b. hans - hat &quot; hunger &quot; ."),
        ("fr", "L’homme « rit ».", "l&apos; homme &quot; rit &quot; ."),
    ],
)
def test_moses_tokens_match_the_published_captions(lang: Language, raw: str, expected: str) -> None:
    assert normalize(captions(lang), raw) == expected


def test_lowercase_normalizer_on_real_captions(data: Callable[[str], Path]) -> None:
    with gzip.open(data("multi30k") / "val.en.gz") as file:
        lines = file.read().decode().split("\n")[:-1]
    normalizers, restored_lines = captions("en"), 0
    for line in lines:
        tokens = normalize(normalizers, line)
        assert tokens == " ".join(tokens.split())
        assert normalize(normalizers, normalizers[-1].restore(tokens)) == tokens
        restored_lines += normalizers[-1].restore(tokens) == " ".join(line.lower().split())
    assert restored_lines > 0.97 * len(lines)


def test_moses_accepts_only_languages_with_rules() -> None:
    from sacremoses.corpus import NonbreakingPrefixes

    assert set(get_args(Language)) == set(NonbreakingPrefixes().available_langs.values())


def test_moses_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for normalizer in (MosesPunctuation, MosesTokens):
        with pytest.raises(ValueError, match="not installed: pip install sacremoses"):
            normalizer(lang="en")


def test_unicode_normalizer_supports_both_forms() -> None:
    assert UnicodeForm()("e\u0301\u00a0ﬁ") == "é\u00a0ﬁ"
    assert UnicodeForm(form="NFKC")("e\u0301\u00a0ﬁ") == "é fi"
    assert Lowercase()("ÄA") == "äa"
    assert Lowercase().restore("äa") == "äa"
