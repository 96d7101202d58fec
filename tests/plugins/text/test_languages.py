"""The languages of corpora and translators."""

from typing import Any

import pytest

import seqx
from seqx_sample import Sample
from seqx_text import Bleu, Files, Mixed, SentencePiece, TaggedCorpus
from seqx_translation import Translation, Wmt14


@pytest.mark.parametrize(
    ("files", "languages"),
    [
        (["train.en", "train.de.gz"], ["en", "de"]),
        (["a/pt.d/train.pt_BR.xz", "${DATA}/zh/train.zh-Hant"], ["pt_BR", "zh-Hant"]),
        (["train.txt", "train.de"], ["", "de"]),
        (["en", "train.gz"], ["", ""]),
    ],
)
def test_files_know_the_languages_of_their_names(files: list[str], languages: list[str]) -> None:
    assert Files(train=files).languages == languages
    assert Files(test=[files, ["x", "y"]]).languages == languages
    assert Files().languages == ()


def test_corpora_know_their_languages() -> None:
    sample = Sample(columns=("de", "tree", "en"))
    assert sample.languages == ["de", "", "en"]
    assert Wmt14(source="fr", target="en").languages == ("fr", "en")
    assert TaggedCorpus(corpus=sample, tag="<x>").languages == ["de", "", "en"]
    assert Mixed(corpora=[sample, sample]).languages == ("de", "", "en")
    assert Mixed(corpora=[Sample(), sample]).languages == ()


@pytest.mark.parametrize(
    ("corpus", "settings", "languages"),
    [
        (Sample(), {}, ("en", "de")),
        (Sample(), {"source": 1, "target": 0}, ("de", "en")),
        (Sample(), {"target": 2}, None),
        (Sample(columns=("en", "gist")), {}, None),
        (Sample(), {"tags": ("<2de>",)}, None),
    ],
)
def test_translation_knows_its_languages(
    corpus: seqx.Corpus, settings: dict[str, Any], languages: tuple[str, str] | None
) -> None:
    task = Translation(corpus=corpus, tokenizer=SentencePiece(), metrics=[Bleu()], **settings)
    assert task.languages == languages
