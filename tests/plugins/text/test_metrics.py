"""BLEU and chrF compared with values computed by hand, and their signatures."""

import gzip
import math
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from seqx_text import Bleu, Chrf, Lowercase, MosesTokens, PaperBleu, TokenizedBleu

SACREBLEU = version("sacrebleu")


def ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def multi_bleu(outputs: list[str], references: list[str]) -> float:
    """Return the BLEU of tokens, from the definition in Papineni et al. 2002, section 2.3."""
    logs = 0.0
    for n in range(1, 5):
        matches = total = 0
        for pair in zip(outputs, references, strict=True):
            found, wanted = (ngrams(text.split(), n) for text in pair)
            matches += (found & wanted).total()
            total += found.total()
        logs += math.log(matches / total) / 4
    ratio = len(" ".join(references).split()) / len(" ".join(outputs).split())
    return 100 * min(1, math.exp(1 - ratio)) * math.exp(logs)


OUTPUTS = ["Der „rich-text“ Editor ist gut, sagt A-B-C.", "Ein Mann geht in die Stadt und singt laut."]
REFERENCES = ['Der "rich-text"-Editor ist gut, sagt A-B-C!', "Ein Mann geht in die Stadt und singt."]


def test_paper_bleu_equals_the_value_computed_by_hand() -> None:
    # The authors' s{(\S)-(\S)}{...}g continues after each replacement, so it splits one hyphen of "A-B-C".
    outputs = [
        "Der „ rich ##AT##-##AT## text &quot; Editor ist gut , sagt A ##AT##-##AT## B-C .",
        "Ein Mann geht in die Stadt und singt laut .",
    ]
    references = [
        "Der &quot; rich ##AT##-##AT## text &quot; -Editor ist gut , sagt A ##AT##-##AT## B-C !",
        "Ein Mann geht in die Stadt und singt .",
    ]
    ((name, score),) = PaperBleu(lang="de")(OUTPUTS, REFERENCES).items()
    assert name == "paper_bleu"
    assert score.value == pytest.approx(multi_bleu(outputs, references))
    assert score.signature == (
        f"text:unicode punctuation+moses_tokens(de)+##AT##|sacremoses:{version('sacremoses')}"
        f"|nrefs:1|case:mixed|eff:no|tok:none|smooth:none|version:{SACREBLEU}"
    )


def test_tokenized_bleu_equals_the_value_computed_by_hand() -> None:
    metric = TokenizedBleu(normalizers=[Lowercase(), MosesTokens(lang="de")])
    outputs, references = ["EIN Mann geht laut."], ["ein mann geht laut!"]
    score = metric(outputs, references)["tokenized_bleu"]
    expected = multi_bleu(["ein mann geht laut ."], ["ein mann geht laut !"])
    assert score.value == pytest.approx(expected)
    assert score.signature.startswith("text:lowercase+moses_tokens(de)|nrefs:1|case:mixed|eff:no|tok:none|")


def test_tokenized_bleu_without_matches_is_zero() -> None:
    assert TokenizedBleu()(["a b c d"], ["e f g h"])["tokenized_bleu"].value == 0


def test_bleu_and_chrf_signatures_are_those_of_sacrebleu() -> None:
    bleu = Bleu()(OUTPUTS, REFERENCES)["bleu"]
    assert bleu.signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{SACREBLEU}"
    small = Bleu(lowercase=True, tokenize="char")(OUTPUTS, REFERENCES)["bleu"]
    assert small.signature == f"nrefs:1|case:lc|eff:no|tok:char|smooth:exp|version:{SACREBLEU}"
    chrf = Chrf(words=2)(OUTPUTS, REFERENCES)["chrf"]
    assert chrf.signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{SACREBLEU}"


def test_scores_of_real_captions_equal_those_of_sacrebleu(data: Callable[[str], Path]) -> None:
    import sacrebleu

    with gzip.open(data("multi30k") / "val.de.gz") as file:
        references = file.read().decode().split("\n")[:200]
    outputs = [line.replace("ein", "kein").rstrip(".") for line in references]
    assert Bleu()(outputs, references)["bleu"].value == sacrebleu.corpus_bleu(outputs, [references]).score
    assert Chrf()(outputs, references)["chrf"].value == sacrebleu.corpus_chrf(outputs, [references]).score
    for metric in (Bleu(), Chrf(), PaperBleu(), TokenizedBleu()):
        (score,) = metric(references, references).values()
        assert score.value == pytest.approx(100)
        (worse,) = metric(outputs, references).values()
        assert 10 < worse.value < 99
