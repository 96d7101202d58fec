"""`seqx parse` writes a tree over the words of each input line."""

import json
import random
import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import seqx
from seqx_parsing import Bracket, InOrder, Parser, Parsing, Tree
from seqx_parsing.formats import FORMATS
from seqx_parsing.linearisation import Decoded
from seqx_parsing.parse_command import parse
from seqx_parsing.reader import read
from seqx_parsing.tree import MAX_DEPTH
from tests.models import PARSING, write_model

Models = Callable[[str], Path]

LINES = ["The old man sees the house .", "", "Ärger über Öl …", "A dog sleeps .", "   ", "xyz"]
ODD = [
    "a\u00a0b c",
    "zero\u200b \u200b \ufeff width",
    "🙂 👩‍👩‍👧 日本語 を 読む",
    "\x01 \x02\x03 a\x00b \x7f \x1b[0m",
    "a\x1cb\x85c\u2028d\u2029e \u3000",
    "( ) (a) [ ] { } -LRB- 1\\/2 <unk> <s>",
    "snake_case _ __ a_ _b",
    "XX (S )S TOP | = - ' \" ``",
    f"long {'x' * 3000} word",
]
SHORT = PARSING.replace("ratio: 2, extra: 20", "ratio: 1.2, extra: 5")  # random weights use the whole limit
LINEARISATIONS = {
    "top_down": "top_down",
    "with tags": "{type: top_down, tags: true}",
    "in_order": "in_order",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Return a model with random weights for each linearisation."""
    folder, made = tmp_path_factory.mktemp("models"), dict[str, Path]()

    def model(linearisation: str) -> Path:
        if linearisation not in made:
            text = SHORT.replace("top_down", LINEARISATIONS[linearisation])
            made[linearisation] = write_model(folder / linearisation, text=text)
        return made[linearisation]

    return model


@pytest.fixture(scope="module")
def model(models: Models) -> Path:
    return models("top_down")


@pytest.fixture(scope="module")
def answers(model: Path) -> list[str]:
    return seqx.load(model)(LINES)


def call(text: bytes | str, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(parse, [str(argument) for argument in arguments], input=text)
    assert result.exception is None or isinstance(result.exception, seqx.UserError), result.exception
    return result


def answered(result: Result) -> list[str]:
    """Return the lines of the output, which end at line feeds only."""
    *lines, last = result.stdout_bytes.decode().split("\n")
    assert last == ""
    return lines


def words(text: str) -> list[str]:
    """Return the words of the only tree in a text."""
    (tree,) = read([text], "the answer")
    return [leaf.word for leaf in tree.leaves()]


def typed(line: str) -> list[str]:
    """Return the words of a line as they are written in trees."""
    return [word.replace("(", "-LRB-").replace(")", "-RRB-") for word in line.split(" ") if word]


def test_parse_answers_line_by_line(model: Path, answers: list[str]) -> None:
    for end in ("\n", ""):
        result = call("\n".join(LINES) + end, model)
        assert answered(result) == answers
        assert result.stderr == ""
    assert [bool(answer) for answer in answers] == [bool(line.strip()) for line in LINES]
    for line, answer in zip(LINES, answers, strict=True):
        assert not answer or words(answer) == typed(line)
    assert len(set(answers)) == 5
    assert "(XX " not in "".join(answers)  # tags are predicted


@pytest.mark.parametrize("linearisation", LINEARISATIONS)
def test_parse_keeps_every_word_as_typed(models: Models, linearisation: str) -> None:
    result = call("\n".join(ODD), models(linearisation))
    assert re.fullmatch(r"2 of 9 inputs look like running text: .*\n", result.stderr)
    for line, answer in zip(ODD, answered(result), strict=True):
        assert words(answer) == typed(line)


def test_parse_ignores_extra_white_space(model: Path, answers: list[str]) -> None:
    assert answered(call(f"  {LINES[0].replace(' ', chr(9) + ' ')} \r\n", model)) == answers[:1]


RAW = {
    'She said "it can\'t cost $5" (well-known).': "She said `` it ca n't cost $ 5 '' ( well-known ) .",
    "": "",
    '"Hello," he said; "dogs\' bones."': "`` Hello , '' he said ; `` dogs ' bones . ''",
    "“It’s ‘fine’ — really…”": "`` It 's ` fine ' -- really ... ''",
    '"': "``",
    "He cannot pay 5% of $1,000,000.50 by 1/2.": "He can not pay 5 % of $ 1,000,000.50 by 1/2 .",
    "a\u00a0b\u2003c": "a b c",
}


def test_parse_raw_text(model: Path) -> None:
    found = answered(call("\n".join(RAW) + "\n", model, "--raw"))
    assert found == answered(call("\n".join(RAW.values()) + "\n", model))
    for tokens, answer in zip(RAW.values(), found, strict=True):
        assert not answer or words(answer) == typed(tokens)
    (row,) = map(json.loads, answered(call(f"{next(iter(RAW))}\n", model, "--raw", "--json")))
    assert row["input"] == next(iter(RAW))  # the input is unchanged
    assert row["output"] == found[0]


RAW_IN = {
    "de": ("Am 3. Mai kam „Müllers“ Hund, z.B. (spät).", "Am 3. Mai kam „ Müllers “ Hund , z.B. ( spät ) ."),
    "fr": ("L'homme & l'eau.", "L' homme & l' eau ."),
}


@pytest.mark.parametrize("language", RAW_IN)
def test_parse_raw_text_in_other_languages(model: Path, language: str) -> None:
    line, tokens = RAW_IN[language]
    (answer,) = answered(call(line, model, "--raw", "--language", language))
    assert words(answer) == typed(tokens)


def test_parse_warns_once_of_running_text_without_raw(model: Path) -> None:
    text = "The doctor gives her a book, but he sleeps.\n\nA dog sleeps .\n“Who?”\n"
    result = call(text, model)
    assert result.stderr == (
        "2 of 3 inputs look like running text: punctuation is attached to words; separate it by spaces, as "
        "`seqx parse --raw` does\n"
    )
    assert call(text, model, "--raw").stderr == ""
    treebank = [
        "Mr. Smith of Acme Inc. ca n't pay $ 1,000 at 3:30 .",
        "`` Yes ! ''",
        "-LRB- a -RRB-",
    ]
    assert call("\n".join(treebank), model).stderr == ""
    assert call("Oh_UH ,_, no_UH ._.\n", model).stderr == ""


def test_parse_splits_lines_into_sentences(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentencex")
    text = "Dr. Müller kam am 3. Mai. „Warum?“, fragte sie.\n \n\nEr war müde! Hm.\n"
    expected = [
        *("Dr. Müller kam am 3. Mai .", "„ Warum ? “ , fragte sie .", "", "", "Er war müde !", "Hm ."),
    ]
    found = answered(call(text, model, "--sentences", "--language", "de"))
    assert [" ".join(words(answer)) if answer else "" for answer in found] == expected
    rows = answered(call(text, model, "--sentences", "--language", "de", "--json"))
    assert [json.loads(row)["input"] for row in rows][4:] == ["Er war müde!", "Hm."]
    assert CliRunner().invoke(parse, [str(model), "--sentences", "--json-input"]).exit_code == 2
    monkeypatch.setitem(sys.modules, "sentencex", None)
    assert "'.[sentences]'" in str(call(text, model, "--sentences").exception)


def test_parse_rejects_a_language_without_rules(model: Path) -> None:
    error = call("a", model, "--raw", "--language", "tlh").exception
    assert isinstance(error, seqx.UserError)
    assert str(error).startswith("--language: there are no rules for 'tlh', only for ")


def test_parse_json(model: Path, answers: list[str]) -> None:
    rows = [json.loads(row) for row in answered(call("\n".join(LINES), model, "--json", "--nbest", "2"))]
    assert [row["input"] for row in rows] == LINES
    assert [row["output"] for row in rows] == answers
    assert rows[1] == {"input": "", **dict.fromkeys(("score", "logprob", "tree")), "output": "", "nbest": []}
    (one,) = map(json.loads, answered(call(LINES[0], model, "--json")))
    assert one.keys() == {"input", "output", "score", "logprob", "tree"}
    for row in (row for row in rows if row["output"]):
        first, second = row["nbest"]
        assert first == {key: row[key] for key in ("output", "score", "logprob", "tree")}
        assert [answer["tree"] for answer in row["nbest"]] == [
            next(read([answer["output"]], "the answer")).to_json() for answer in row["nbest"]
        ]
        assert second["logprob"] < first["score"] < 0
        assert first["score"] >= second["score"]
        assert words(second["output"]) == typed(row["input"])


def test_parse_nbest_prints_the_ranking_scores(model: Path, answers: list[str]) -> None:
    short = "search={type: beam, size: 5, ratio: 0, extra: 6}"
    rows = [row.split("\t") for row in answered(call("a\n\na b\n", model, "--nbest", "5", short))]
    assert [(line, rank) for line, rank, *_ in rows] == [
        *(("1", str(rank)) for rank in range(1, 6)),
        ("2", "1"),
        *(("3", str(rank)) for rank in range(1, 6)),
    ]
    for line, group in groupby(rows, key=lambda row: row[0]):
        if line == "2":
            continue
        several = list(group)
        scores = [float(score) for _, _, score, _ in several]
        assert scores == sorted(scores, reverse=True)
        assert max(scores) < 0
        assert len({tree for *_, tree in several}) == len(several)
        assert all(words(tree) == (["a"] if line == "1" else ["a", "b"]) for *_, tree in several)
    (row,) = map(json.loads, answered(call("a\n", model, "--nbest", "5", "--json", short)))
    shown = [f"{one['score']:.4f}" for one in row["nbest"]]
    assert shown == [score for line, _, score, _ in rows if line == "1"]
    every = [row.split("\t") for row in answered(call("\n".join(LINES), model, "--nbest", "3"))]
    assert [row[3] for row in every if row[1] == "1"] == answers
    assert all(float(row[2]) < 0 for row in every if row[3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--language", "de"], "--language is for running text; add --raw or --sentences"),
        (["--draw", "--format", "svg"], "--draw is short for --format drawing; use only one of both"),
    ],
)
def test_parse_refuses_options_without_effect(model: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(parse, [str(model), *options], input="A dog sleeps .\n")
    assert result.exit_code == 2
    assert message in result.stderr


def test_parse_draws_trees(model: Path) -> None:
    result = call("The dog sleeps .\n\nA b .\n", model, "--draw")
    first, second, end = result.stdout.split("\n\n")
    second = second.removeprefix("\n")  # the empty answer to the empty line
    assert (result.stdout.count("\n\n\n"), end) == (1, "")
    for text, drawing in (("The dog sleeps .", first), ("A b .", second)):
        assert drawing.split("\n")[0].strip() == "TOP"
        assert drawing.split("\n")[-1].split() == text.split()
        assert "│" in drawing
    several = call("The dog sleeps .\n", model, "--draw", "--nbest", "2").stdout.split("\n\n")
    assert several[0].partition("\n")[2] == first
    assert several[0].startswith("1\t1\t")
    assert several[1].startswith("1\t2\t")
    odd = call("\n".join(ODD[:-1]), model, "--draw").stdout_bytes.decode()
    assert "a\x1cb\x85c\u2028d\u2029e" in odd


def test_parse_meets_constraints_on_the_symbols_of_the_tree(model: Path, answers: list[str]) -> None:
    line = "The old man sees ."
    result = call(f"{line}\n\n", model, "--prefix-all", "(S (NP XX XX )NP (VP", "--forbid", "(SBAR")
    first, empty = answered(result)
    assert (words(first), empty, result.stderr) == (line.split(), "", "")
    brackets = next(read([first], "the answer")).brackets()
    assert [bracket.label for bracket in brackets[:4]] == ["TOP", "S", "NP", "VP"]
    assert brackets[2] == Bracket("NP", 0, 2)
    raw = ["--require", "(PP XX", "--raw", "--json", "search.size=6"]
    (row,) = map(json.loads, answered(call("The old man sees.", model, *raw)))
    assert "(PP (" in row["output"]
    assert row["input"] == "The old man sees."  # as without constraints
    assert words(row["output"]) == line.split()
    asked = json.dumps({"text": line, "prefix": "(S )NP"})
    result = call(asked, model, "--json-input")
    assert answered(result) == [""]
    assert "1 of 1 lines have no answer (line 1)" in result.stderr
    result = call(line, model, "--require", "(NPP")
    message = "standard input:1: the phrase '(NPP': the model writes no symbol '(NPP'; use (PP"
    assert str(result.exception).startswith(message)


def test_parse_writes_other_formats_of_the_same_trees(model: Path, answers: list[str]) -> None:
    trees = [next(read([answer], "the answer"), None) for answer in answers]
    for name, chosen in FORMATS.items():
        expected = [chosen.write(tree) if tree else "" for tree in trees]
        assert call("\n".join(LINES), model, "--format", name).stdout == "".join(
            f"{one}\n" for one in expected
        )
    rows = [json.loads(row) for row in answered(call(LINES[0], model, "--json", "--format", "svg"))]
    assert [row["output"].startswith("<svg ") for row in rows] == [True]
    assert trees[0] is not None
    assert rows[0]["tree"] == trees[0].to_json()


def test_parser_returns_trees(model: Path, answers: list[str], tmp_path: Path) -> None:
    parser = Parser(seqx.load(model, overrides=["search.nbest=2"]))
    trees = parser(LINES)
    assert ["" if tree is None else str(tree) for tree in trees] == answers
    assert [several[:1] for several in parser.nbest(LINES)] == [[tree] if tree else [] for tree in trees]
    with pytest.warns(UserWarning, match=r"^1 of 2 inputs look like running text: .*`seqx parse --raw` does"):
        parser(["A dog sleeps.", "A dog sleeps ."])
    with pytest.raises(seqx.UserError, match="model of the task Translation, not a parser"):
        Parser(seqx.load(write_model(tmp_path / "translation")))


def test_parse_splits_long_sentences(model: Path) -> None:
    line = " ".join(random.Random(1).choices(LINES[0].split(), k=150))
    quick = "search={type: beam, size: 2, ratio: 1, extra: 4}"
    result = call(f"{line}\n", model, "task.max_length=2000", quick)
    assert (words(answered(result)[0]), result.stderr) == (typed(line), "")
    result = call(f"{line}\nThe dog sleeps .\n{line}\n", model, "task.max_length=50", quick)
    assert result.stderr == "2 of 3 inputs have more than 50 tokens; they were answered in parts\n"
    first, short, second = answered(result)
    assert first == second
    assert (words(first), words(short)) == (typed(line), typed("The dog sleeps ."))
    result = call(f"a {'日本語' * 1000} b\n", model, "task.max_length=50", quick)
    assert words(answered(result)[0]) == ["a", "日本語" * 1000, "b"]


def test_unconstrained_output_is_repaired_and_counted(model: Path) -> None:
    result = call("\n".join(LINES), model, "task.constrained=false")
    assert result.stderr == "4 of 4 outputs were not valid trees over the words; they were repaired\n"
    for line, answer in zip(LINES, answered(result), strict=True):
        assert words(answer) == typed(line) if line.strip() else answer == ""


def test_unrepaired_output_is_an_empty_answer(model: Path) -> None:
    message = "4 of 4 outputs were not valid trees over the words; their answers are empty\n"
    settings = ["task.constrained=false", "task.repair=false"]
    result = call("\n".join(LINES), model, *settings)
    assert (answered(result), result.stderr) == ([""] * 6, message)
    for more in ("--draw", "--json", "--raw"):
        result = call("\n".join(LINES), model, *settings, more)
        assert (len(answered(result)), result.stderr) == (6, message)
    several = answered(call("a b\n", model, *settings, "--nbest", "2"))
    assert [row.split("\t")[3] for row in several] == [""]  # no tree, once
    result = call(f"{' '.join('abc')}\n{'the house ' * 20}\n", model, *settings, "task.max_length=20")
    assert answered(result) == ["", ""]  # if a part has no tree, the sentence has none


def test_parse_flattens_too_deep_trees(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(self: object, symbols: object, leaves: list[seqx.State]) -> Decoded:
        tree = Tree("S", tuple(leaves))
        for _ in range(5000):
            tree = Tree("S", (tree,))
        return Decoded(Tree("TOP", (tree,)), repaired=False)

    monkeypatch.setattr("seqx_parsing.TopDown.decode", deep)
    result = call(f"a b\n{'the house ' * 20}\n", model, "task.max_length=20", "--draw")
    assert result.stdout.count("TOP") == 2
    assert "outputs were not valid trees over the words; they were repaired\n" in result.stderr
    (answer,) = answered(call("a b\n", model))
    assert answer.count("(S") == MAX_DEPTH - 2  # TOP, and the words' own brackets
    assert words(answer) == ["a", "b"]


def test_parse_reads_given_tags(model: Path) -> None:
    line = "He_PRP sees_VBZ snake_case_NN (_-LRB- 1\\/2_CD -_$( )_)"
    (answer,) = answered(call(f"{line}\n", model, "task.tags=given"))
    (tree,) = read([answer], "the answer")
    assert [str(leaf) for leaf in tree.leaves()] == [
        *("(PRP He)", "(VBZ sees)", "(NN snake_case)", "(-LRB- -LRB-)", "(CD 1\\/2)"),
        *("($-LRB- -)", "(-RRB- -RRB-)"),
    ]
    same = seqx.load(model, overrides=["task.tags=none"])(["He sees snake_case ( 1\\/2 - )"])[0]
    assert "".join(part for part in same.split() if part[0] == "(" and part != "(XX") == "".join(
        f"({child.label}" for child in constituents(tree)
    )


@pytest.mark.parametrize("word", ["bare", "tagless_", "_"])
def test_parse_rejects_a_word_without_its_given_tag(model: Path, word: str) -> None:
    error = call(f"He_PRP sees_VBZ {word}\n", model, "task.tags=given").exception
    assert isinstance(error, seqx.UserError)
    assert f"{word!r} has no part-of-speech tag" in str(error)


def constituents(tree: Tree) -> list[Tree]:
    """Return the constituents from left to right, outer ones first."""
    below = [child for child in tree.children if isinstance(child, Tree)]
    return [tree, *(one for child in below for one in constituents(child))]


def test_parse_rejects_predicted_tags_without_a_tagging_model(tmp_path: Path, model: Path) -> None:
    untagged = yaml.safe_load(SHORT)
    untagged["model"] = untagged["model"]["inner"]
    vocabulary = model.parent / f"{model.name}-vocabulary"
    plain = write_model(tmp_path / "plain", text=yaml.safe_dump(untagged), vocabulary=vocabulary)
    for command in ([plain], [model, plain], [plain, "--json"]):
        error = call("a b\n", *command).exception
        assert isinstance(error, seqx.UserError)
        assert str(error).startswith("task.tags is predicted, but the model predicts no tags; use a model")
    for tags in ("none", "given"):
        (answer,) = answered(call("a_A b_B\n", plain, f"task.tags={tags}"))
        assert words(answer) == (["a", "b"] if tags == "given" else ["a_A", "b_B"])


def test_several_models_form_an_ensemble(tmp_path: Path, model: Path, answers: list[str]) -> None:
    vocabulary = model.parent / f"{model.name}-vocabulary"
    other = write_model(tmp_path / "other", text=SHORT, seed=1, vocabulary=vocabulary)
    assert answered(call("\n".join(LINES), model, model)) == answers
    both = answered(call("\n".join(LINES), model, other))
    assert both == answered(call("\n".join(LINES), other, model))
    assert both not in (answers, answered(call("\n".join(LINES), other)))
    for line, answer in zip(LINES, both, strict=True):
        assert not answer or words(answer) == typed(line)


def test_parse_reports_a_mistake_in_one_message(model: Path) -> None:
    for arguments, message in (
        (["task.tags=some"], "task.tags"),
        (["task.linearisation={type: top_down, depth: 0}"], "depth"),
        (["--nbest", "4"], "--nbest 4 is more than the beam size 3"),
        (["model.d_model=8"], "a trained model does not allow this"),
    ):
        error = call("a", model, *arguments).exception
        assert isinstance(error, seqx.UserError)
        assert message in str(error)
    result = call(b"a b\n\xff\n", model)
    assert words(answered(result)[0]) == ["a", "b"]
    assert "standard input:2: byte" in str(result.exception)


VOCABULARY = [*LINES[0].split(), *ODD[5].split(), "``", "$5", "日本語", "a\u00a0b", "\u200b", "🙂"]
SEARCHES = {
    "beam of 1": "{type: beam, size: 1, ratio: 1.2, extra: 3}",
    "beam of 6": "{type: beam, size: 6, nbest: 6, ratio: 1.2, extra: 3}",
    "greedy": "{type: greedy, ratio: 1.2, extra: 3}",
    "sampling": "{type: sampling, ratio: 1.2, extra: 3}",
}


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Return sentences of 1 to 25 words, most of them short; the last one has all words."""
    rng = random.Random(7)
    found = [" ".join(rng.choices(VOCABULARY, k=1 + int(25 * rng.random() ** 3))) for _ in range(23)]
    return [*found, "\u200b", " ".join(VOCABULARY)]


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("linearisation", LINEARISATIONS)
def test_parse_finds_only_trees_for_any_weights(
    models: Models, sentences: list[str], linearisation: str, search: str
) -> None:
    overrides = [f"search={SEARCHES[search]}"]
    predictor = seqx.load(models(linearisation), overrides=overrides, batch_tokens=100_000)
    answers = list(predictor.hypotheses(sentences))
    task = predictor.task
    assert isinstance(task, Parsing)
    split, _, repaired, _ = seqx.sum_warnings(answers)
    assert (repaired.count, split.count) == (0, 0)
    assert repaired.total > (130 if "6" in search else 24)
    assert len({trees[0][0] for trees in answers}) > 16
    for sentence, trees in zip(sentences, answers, strict=True):
        for tree, _ in trees:
            assert words(tree) == typed(sentence)
    assert isinstance(task.linearisation, InOrder) == (linearisation == "in_order")
