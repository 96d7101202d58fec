"""The task of language modelling: examples and scores."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx.testing import FixedPredictor
from seqx_sample import Sample
from seqx_text import Characters, Files, Lowercase, Marian, SentencePiece, Words
from seqx_text_tasks import LanguageModel
from tests.letters import Letters, Rows

LINES = [("one two",), ("",), ("three",), ("  ",), ("a b c d",)]


def ids(text: str) -> list[int]:
    return [*map(ord, text)]


def task(**settings: Any) -> LanguageModel:
    rows = Rows(train=LINES, dev=LINES, test=LINES)
    return LanguageModel(**{"corpus": rows, "tokenizer": Letters(), **settings})


def texts(language_model: LanguageModel) -> list[str]:
    return [text for (text,) in language_model.rows("train")]


def test_language_model_example_is_a_line_after_bos() -> None:
    language_model = task()
    assert texts(language_model) == ["one two\n", "three\n", "a b c d\n"]
    example = language_model.example(("three\n",), training=True)
    assert example == seqx.Example(
        columns={"source": [seqx.BOS], "target": [*ids("three"), seqx.EOS]}, text={"target": "three\n"}
    )


def test_language_model_blocks_have_as_many_lines_as_fit() -> None:
    language_model = task(examples="blocks", max_length=14)
    assert texts(language_model) == ["one two\nthree\n", "a b c d\n"]
    example = language_model.example(("one two\nthree\n",), training=True)
    assert isinstance(example, seqx.Example)
    assert example.columns["target"] == [*ids("one two"), seqx.EOS, *ids("three"), seqx.EOS]


@pytest.mark.parametrize("examples", ["lines", "blocks"])
def test_language_model_continues_long_lines_in_the_next_example(examples: str) -> None:
    lines = [("in the beginning was  the word",), ("short",), ("x" * 20,)]
    language_model = task(corpus=Rows(train=lines), examples=examples, max_length=10)
    parts = texts(language_model)
    assert "".join(parts) == "".join(f"{line}\n" for (line,) in lines)
    assert [part for part in parts if len(part) > 10] == ["x" * 20 + "\n"]
    dropped = language_model.example((parts[-1],), training=True)
    assert dropped == seqx.Rejected("too long")
    assert isinstance(language_model.example((parts[-1],), training=False), seqx.Example)


@pytest.mark.parametrize("tokenizer", [SentencePiece(size=400), Marian(size=200), Words(), Characters()])
def test_parts_of_a_long_line_are_as_long_as_possible(tokenizer: seqx.Tokenizer, tmp_path: Path) -> None:
    """Only the next word would not fit; tokens that occur only at the ends of texts are not counted."""
    line = " ".join(english for (english,) in Sample(train=60, columns=("en",)).rows("train"))
    language_model = task(corpus=Rows(train=[(line,)]), tokenizer=tokenizer, max_length=50)
    language_model.learn(tmp_path, lambda _what, _share: None)
    *parts, _ = texts(language_model)
    assert len(parts) > 5
    lengths = [len(tokenizer.encode(part)) for part in parts]
    longest = max(len(tokenizer.encode(f"{word} ")) for word in line.split())
    assert 50 - longest <= min(lengths)
    assert max(lengths) <= 49  # the last part of a line has EOS, too


def test_language_model_reads_a_prompt_after_bos_and_repeats_it() -> None:
    language_model = task(normalizers=[Lowercase()])
    assert language_model.read("One") == {"source": [seqx.BOS, *ids("one")]}
    assert language_model.write(ids(" two"), "One", {}) == "one two"
    assert language_model.read("") == {"source": [seqx.BOS]}


def test_language_model_scores_equal_the_values_computed_by_hand() -> None:
    """Each token has probability 1/2. There are 6 + 3 + 6 letters and spaces, and three line ends."""
    rows = Rows(dev=[("one tw",), ("abc",), ("a b cd",)])
    language_model = task(corpus=rows)
    predictor = FixedPredictor(str, math.log(1 / 2))
    evaluation = language_model.evaluate(predictor, language_model.read_split("dev"))
    assert list(evaluation.scores) == ["bits_per_character", "word_perplexity", "token_perplexity"]
    values = {name: score.value for name, score in evaluation.scores.items()}
    assert values["bits_per_character"] == pytest.approx(1)
    assert values["token_perplexity"] == pytest.approx(2)
    assert values["word_perplexity"] == pytest.approx(2 ** (18 / 9))
    assert evaluation.perplexity == pytest.approx(2)
    score = evaluation.scores["bits_per_character"]
    assert score.signature == "characters:18|examples:lines|longest:256|line ends:count|unknown:0"
    assert score.beats(score.value + 0.1)
    assert not score.beats(score.value)


def test_language_model_bits_per_character_do_not_depend_on_the_tokenizer() -> None:
    class Doubled(Letters):
        def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
            return [i for i in super().encode(text) for _ in range(2)]

    text = "some text"
    rows = Rows(dev=[(text,)])
    single = task(corpus=rows)
    score_of_single = single.evaluate(FixedPredictor(str, -19 / 10), single.read_split("dev")).scores[
        "bits_per_character"
    ]
    double = task(corpus=rows, tokenizer=Doubled())
    score_of_double = double.evaluate(FixedPredictor(str, -1.0), double.read_split("dev")).scores[
        "bits_per_character"
    ]
    assert score_of_single.value == pytest.approx(score_of_double.value)


def test_language_model_perplexity_can_be_infinite() -> None:
    language_model = task()
    evaluation = language_model.evaluate(FixedPredictor(str, -1e4), language_model.read_split("dev"))
    assert evaluation.scores["word_perplexity"].value == math.inf


def test_language_model_rejects_missing_text_and_columns(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match=r"task.column is 2, but the corpus has 1 column,"):
        task(column=2).fetch(tmp_path, lambda *_: None)
    with pytest.raises(seqx.UserError, match="the corpus has no text for dev"):
        task(corpus=Rows(train=LINES, dev=[("",)], test=LINES)).fetch(tmp_path, lambda *_: None)


def test_language_model_does_not_use_a_sampled_segmentation_that_is_too_long() -> None:
    language_model = task(max_length=9, sample_segmentation=True)
    assert language_model.resegments
    rng = random.Random(0)
    assert language_model.encode({"target": "abc\n"}, rng)["target"] == [*ids("aabbcc"), seqx.EOS]
    assert language_model.encode({"target": "abcdef\n"}, rng)["target"] == [*ids("abcdef"), seqx.EOS]


def test_language_model_blocks_contain_all_text(data: Callable[[str], Path], tmp_path: Path) -> None:
    file = str(data("multi30k") / "val.en.gz")
    language_model = LanguageModel(
        corpus=Files(train=[file], dev=[file], test=[file]),
        tokenizer=SentencePiece(size=1000, coverage=1.0),
        examples="blocks",
        max_length=64,
    )
    language_model.fetch(tmp_path, lambda *_: None)
    language_model.learn(tmp_path, lambda *_: None)
    blocks = [row[0] for row in language_model.rows("dev")]
    assert "".join(blocks).split("\n")[:-1] == list(seqx.read_lines(Path(file)))
    lengths = [len(_target(language_model, block)) for block in blocks]
    assert max(lengths) <= 64
    assert sum(lengths) / len(lengths) > 48


def _target(language_model: LanguageModel, text: str) -> Sequence[int]:
    example = language_model.example((text,), training=False)
    assert isinstance(example, seqx.Example)
    return example.columns["target"]
