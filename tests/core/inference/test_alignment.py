"""Word alignments from cross-attention."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import seqx
from seqx.inference.alignment import Agreement, WordAligner, format_links, read_links
from seqx.tasks.token_words import token_words
from tests.models import RECIPE, write_model
from tests.stories.tiny import done
from tests.stories.tiny import seqx as command

SOURCES = ["The old man sees the house.", "The  dog sleeps.", "", "xyz ä€"]
CROSS = ("target", "source")
TARGETS = ["Der alte Mann sieht das Haus.", "Der Hund schläft.", "", "xyz"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("align")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        write_model(path / "m", text=RECIPE.replace("layers: 1", "layers: 3"))
        Path("s").write_text("\n".join(SOURCES) + "\n", "utf-8")
        Path("t").write_text("\n".join(TARGETS) + "\n", "utf-8")
        yield path


@pytest.mark.parametrize(
    ("tokens", "text", "words"),
    [
        ([" The", " d", "og", None], "The dog", [0, 1, 1, None]),
        ([" a b", "c", " "], "a bc", [0, 1, None]),  # a token may begin in one word and end in another
        ([b" \xc3", b"\xa4\xe2", b"\x82\xac", b"x"], "ä €x", [0, 0, 1, 1]),  # bytes of characters
        ([" hund", " ."], "HUND.", [0, 0]),  # a normalizer has changed the case and added a space
        (["zwei", " ", "Wörter"], "zwei\u00a0Wörter", [0, 1, 1]),
        ([], "a", []),
        (["a"], "", [None]),
    ],
)
def test_tokens_belong_to_the_words_that_they_write(
    tokens: list[str | bytes | None], text: str, words: list[int | None]
) -> None:
    encoded = [token.encode() if isinstance(token, str) else token for token in tokens]
    assert token_words(encoded, text) == words


def test_tokens_of_moses_keep_the_words_of_the_line() -> None:
    tokens = [word.encode() for word in [" Er", " sagt", " :", " &quot;", " Ja", " ,", " &quot;", " nein"]]
    assert token_words(tokens, 'Er sagt: "Ja," nein') == [0, 1, 1, 2, 2, 2, 2, 3]


def test_alignment_computes_the_text_of_all_symbols_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = seqx.load(folder / "m", device="cpu", precision="fp32")
    task = predictor.task
    assert isinstance(task, seqx.TextPairTask)
    original = type(task.tokenizer).surfaces
    calls: list[seqx.Tokenizer] = []

    def surfaces(tokenizer: seqx.Tokenizer) -> Sequence[bytes | None]:
        calls.append(tokenizer)
        return original(tokenizer)

    monkeypatch.setattr(type(task.tokenizer), "surfaces", surfaces)
    for _ in range(2):
        for column in ("source", "target"):
            assert task.token_words(column, task.tokenizer.encode("The dog"), "The dog")[-1] == 1
    assert len(calls) == 1
    task.load(folder / "m" / "task")
    task.token_words("source", task.tokenizer.encode("The dog"), "The dog")
    assert len(calls) == 2


def test_alignment_links_each_target_word_to_the_word_with_the_largest_weight(folder: Path) -> None:
    predictor = seqx.load(folder / "m", device="cpu", precision="fp32")
    example = predictor.task.scored_example([SOURCES[0], TARGETS[0]])
    assert isinstance(example, seqx.Example)
    attention = predictor.attention_of(example.columns)
    assert attention is not None
    names = [
        name for name, layer in attention.maps.items() if (layer.queries, layer.keys) == ("target", "source")
    ]
    assert len(names) == 3
    symbols = {"source": attention.source, "target": attention.target}
    words: dict[str, list[int]] = {}
    for side, pieces in symbols.items():  # a word begins with U+2581; EOS is no word
        number, words[side] = -1, []
        for piece in pieces[:-1]:
            number += piece.startswith("▁")
            words[side].append(number)
    for layer, name in enumerate(names, 1):
        heads = attention.maps[name].weights[0].double()
        for head, weights in [(None, heads.mean(0)), *enumerate(heads, 1)]:
            expected = []
            for word in range(6):
                rows = weights[[i for i, owner in enumerate(words["target"]) if owner == word]].mean(0)
                sums = [
                    sum(float(rows[i]) for i, owner in enumerate(words["source"]) if owner == other)
                    for other in range(6)
                ]
                expected.append((sums.index(max(sums)), word))
            aligner = WordAligner(predictor, layer, head)
            assert aligner.links(example, SOURCES[0], TARGETS[0]) == expected
    default = WordAligner(predictor).links(example, SOURCES[0], TARGETS[0])
    assert default == WordAligner(predictor, 2).links(example, SOURCES[0], TARGETS[0])


def test_translate_writes_alignments_of_its_answers(folder: Path) -> None:
    options = ["--device", "cpu", "--precision", "fp32"]
    text = "\n".join(SOURCES) + "\n"
    outputs = done("translate", "m", *options, "--alignment", "links", "--head", "2", text=text).splitlines()
    lines = Path("links").read_text("utf-8").split("\n")[:-1]
    assert len(lines) == 4
    assert lines[2] == ""
    for source, output, line in zip(SOURCES, outputs, lines, strict=True):
        links = [tuple(map(int, link.split("-"))) for link in line.split()]
        assert all(i < len(source.split()) and j < len(output.split()) for i, j in links)
        assert len({j for _, j in links}) == len(links) > 0 or not source


def test_align_prints_links_of_given_pairs_and_the_agreement_with_gold(folder: Path) -> None:
    lines = done("align", "m", "s", "t", "--layer", "3", "--head", "1").split("\n")[:-1]
    assert len(lines) == 4
    assert lines[2] == ""
    Path("gold").write_text("\n".join(lines) + "\n", "utf-8")
    table = [row.split("\t") for row in done("align", "m", "s", "t", "--gold", "gold").splitlines()]
    assert table[0] == ["layer", "head", "AER", "precision", "recall"]
    assert table[1] == ["3", "1", "0.0", "100.0", "100.0"]
    assert len(table) == 1 + 3 * 3
    rows = json.loads(done("align", "m", "s", "t", "--gold", "gold", "--json"))
    assert (rows[0]["layer"], rows[0]["head"], rows[0]["aer"]) == (3, 1, 0)
    assert [row["aer"] for row in rows] == sorted(row["aer"] for row in rows)


def test_alignment_error_rate_is_that_of_och_and_ney() -> None:
    gold = read_links("0-0 1p1 2-2 1?2")
    assert gold.sure == {(0, 0), (2, 2)}
    agreement = Agreement()
    agreement.add([(0, 0), (1, 1), (3, 3)], gold)
    assert agreement.error_rate == pytest.approx(1 - (1 + 2) / (3 + 2))
    assert (agreement.precision, agreement.recall) == pytest.approx((2 / 3, 1 / 2))
    assert format_links([(0, 0), (1, 2)]) == "0-0 1-2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("m s t --layer 4", "there is no layer 4: the model has cross-attentions 1 to 3"),
        ("m s t --layer 1 --head 3", "there is no head 3: layer 1 has heads 1 to 2"),
        ("m s", "expected MODEL, SOURCE and TARGET, but got 2 names"),
        ("m s t --json", "--json needs --gold"),
        ("m s t --gold wrong --head 1", "--gold compares all layers and heads; leave out --layer"),
        ("m s t --gold far", "far:1: there is no source word 9: the line has"),
        ("m s t --gold empty", "empty: no line has a sure link, such as 0-1, so that no error rate"),
        ("m s t --gold wrong", "wrong:2: '1_1' is not a link such as 0-1 (sure) or 0p1 (possible)"),
    ],
)
def test_align_errors_are_one_message(folder: Path, arguments: str, message: str) -> None:
    Path("wrong").write_text("0-0\n1_1\n\n\n")
    Path("far").write_text("9-0\n\n\n\n")
    Path("empty").write_text("\n\n\n\n")
    result = command("align", *arguments.split())
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--layer", "9"], "there is no layer 9: the model has cross-attentions 1 to 3\n"),
        (["--head", "9"], "there is no head 9: layer 2 has heads 1 to 2\n"),
        (["--attention", "weights"], "matplotlib"),
    ],
    ids=str,
)
def test_options_are_checked_before_an_answer_or_a_file_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    earlier = '{"line": 1, "part": 1, "search": 1}\n'
    Path("trace").write_text(earlier, "utf-8")
    options = ["--trace", "trace", "--alignment", "new_links", *option]
    result = command("translate", "m", *options, text="xyz\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert Path("trace").read_text("utf-8") == earlier
    assert not Path("new_links").exists()
    assert not Path("weights").exists()


def test_align_checks_the_layer_before_the_first_pair(folder: Path) -> None:
    Path("long").write_text("dog " * 60 + "\n", "utf-8")  # too long, so its line of links is empty
    result = command("align", "m", "long", "long", "--layer", "9")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no layer 9" in result.stderr


def test_token_scores_of_answers_add_up_to_their_log_probability(folder: Path) -> None:
    options = ["--device", "cpu", "--precision", "fp32", "--nbest", "2", "--json", "--token-scores"]
    for line in done(
        "translate", "m", *options, text="The dog sleeps.\n\n" + "dog " * 60 + "\n"
    ).splitlines():
        row = json.loads(line)
        if row["input"].startswith("dog"):
            assert row["tokens"] is None  # answered in parts
        for answer in row["nbest"] if row["input"].startswith("The") else ():
            assert sum(token["logprob"] for token in answer["tokens"]) == pytest.approx(
                answer["logprob"], abs=1e-4
            )
            assert answer["tokens"][-1]["symbol"] == "</s>"
    result = command("translate", "m", "--token-scores")
    assert (result.exit_code, "--token-scores needs --json" in result.stderr) == (2, True)
    result = command("translate", "m", "--layer", "1")
    assert (result.exit_code, "--layer and --head need --alignment" in result.stderr) == (2, True)
