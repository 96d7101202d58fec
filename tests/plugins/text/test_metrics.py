"""BLEU and chrF compared with values computed by hand, and their signatures."""

import gzip
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from seqx_text import Bleu, Chrf, Lowercase, MosesTokens, PaperBleu, Ter, TokenizedBleu

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


MORE_REFERENCES = ["Der Rich-Text-Editor ist gut, sagt A-B-C.", "Ein Mann läuft in die Stadt und singt laut."]


@pytest.mark.parametrize("metric", [Bleu, Chrf, Ter])
def test_interval_of_outputs_with_and_without_matches(metric: Callable[..., Bleu | Chrf | Ter]) -> None:
    outputs, references = ["a dog sees a cat", "xyz"], ["a dog sees a cat", "no matches"]
    score = metric(bootstrap=100)(outputs, references)[metric().name]
    assert score.interval is not None
    assert score.interval.margin > 0


def sacrebleu_command(folder: Path, *options: str, references: int) -> str:
    """Return what the command of sacreBLEU prints for the texts above, each 20 times."""
    (folder / "outputs").write_text("\n".join(OUTPUTS * 20) + "\n", "utf-8")
    names = ["r0", "r1"][:references]
    for name, texts in zip(names, (REFERENCES, MORE_REFERENCES), strict=False):
        (folder / name).write_text("\n".join(texts * 20) + "\n", "utf-8")
    command = [sys.executable, "-m", "sacrebleu", *names, "-i", "outputs", "-w", "4", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("metric", [Bleu, Chrf, Ter])
@pytest.mark.parametrize("references", [1, 2])
def test_scores_and_intervals_are_those_of_the_command_of_sacrebleu(
    metric: Callable[..., Bleu | Chrf | Ter], references: int, tmp_path: Path
) -> None:
    scorer = metric(bootstrap=50)
    options = ["-m", scorer.name, "--confidence", "--confidence-n", "50", "--format", "json"]
    expected = json.loads(sacrebleu_command(tmp_path, *options, references=references))
    lists = [texts * 20 for texts in (REFERENCES, MORE_REFERENCES)][:references]
    score = scorer.compare(OUTPUTS * 20, *lists)[scorer.name]
    assert score.interval is not None
    assert score.value == pytest.approx(expected["score"], abs=1e-4)
    assert score.interval.mean == pytest.approx(expected["confidence_mean"], abs=1e-4)
    assert score.interval.margin == pytest.approx(expected["confidence_var"], abs=1e-4)
    assert score.signature == expected["signature"]
    assert f" (μ = {score.interval.mean:.2f} ± {score.interval.margin:.2f})  nrefs:{references}|" in str(
        score
    )
    assert score.lower_is_better == (metric is Ter)


@pytest.mark.parametrize("metric", [Bleu(), Chrf(), Ter()])
def test_scores_of_sentences_are_those_of_the_command_of_sacrebleu(
    metric: Bleu | Chrf | Ter, tmp_path: Path
) -> None:
    printed = sacrebleu_command(tmp_path, "-m", metric.name, "--sentence-level", "--score-only", references=2)
    scores = metric.sentence_scores(OUTPUTS * 20, REFERENCES * 20, MORE_REFERENCES * 20)
    assert [f"{score[metric.name].value:.4f}" for score in scores] == printed.split()


def test_ter_is_the_number_of_edits_per_reference_word() -> None:
    score = Ter()(["the cat sat here", "a b"], ["the cat sits", "a b"])["ter"]
    assert score.value == pytest.approx(100 * 2 / 5)
    assert Ter(lowercase=False)(["The cat"], ["the cat"])["ter"].value == 50
    assert Ter()(["The cat"], ["the cat"])["ter"].value == 0
    assert Ter(punctuation=False)(["the cat ."], ["the cat"])["ter"].value == 0
    japanese = ["猫は箱の中で寝ている"]
    assert Ter().warnings(japanese)
    assert not Ter(normalized=True, asian=True).warnings(japanese)
