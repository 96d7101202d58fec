"""`check` and `run` refuse a recipe or a missing file with the same message."""

import json
import re
import sys
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

from tests.stories.tiny import TINY, done, lines, refused, seqx, tiny

pytestmark = pytest.mark.promise("check-equals-run")

ROOT = Path(__file__).parents[2]
FILES = "{type: files, train: [t.en, t.de], dev: [d.en, d.de], test: [d.en, d.de]}"
TEXT = [
    f"the {animal} {verb} the {other} .\n"
    for animal in ("dog", "cat", "cow", "pig")
    for verb in ("sees", "hears", "likes")
    for other in ("man", "sea")
]


def corpus(files: str = FILES, more: str = "") -> Path:
    """Write text files and a recipe that reads them."""
    for split, rows in (("t", TEXT * 20), ("d", TEXT[:6])):
        Path(f"{split}.en").write_text("".join(rows))
        Path(f"{split}.de").write_text("".join(row.upper() for row in rows))
    Path("empty").touch()
    Path("zip.en").write_bytes(b"PK\x03\x04 and so on")
    text = TINY.replace("{type: sample, train: 300, dev: 6, test: 6}", files)
    assert files in text
    return tiny(text.replace("size: 400", "size: 310") + more)


def files(split: str, value: str) -> str:
    """Return the corpus with other files for a split."""
    before = FILES[FILES.index(f"{split}: ") :].partition("]")[0] + "]"
    return FILES.replace(before, f"{split}: {value}")


MISTAKES = [
    (
        files("train", "[none.en, t.de]"),
        [],
        "train.0: ",
        "none.en: cannot be read (No such file or directory)",
    ),
    (files("dev", "[d.en, none.de]"), [], "dev.1: ", "none.de: cannot be read (No such file or directory)"),
    (files("test", "[[d.en, d.de], [d.en, empty]]"), [], "test.1.1: ", "empty: is empty;"),
    (files("test", "[., d.de]"), [], "test.0: ", "cannot be read (Is a directory)"),
    (files("train", "[zip.en, t.de]"), [], "train.0: ", "zip.en: is a zip archive, not text"),
    (files("train", '["${NO_SUCH}/t.en", t.de]'), [], "train.0: ", "variable NO_SUCH is not set"),
    (files("train", "[]"), [], "task.corpus: ", "has no training text; set its 'train'"),
    (files("dev", "[]"), ["training.patience=3"], "training.patience: ", "it needs a development set"),
    (files("dev", "[]"), ["training.select=best"], "training.select: ", "it needs a development set"),
    (FILES, ["task.source=2"], "task.source: ", "it is 2, but the corpus has 2 columns"),
    (FILES, ["task.target=7"], "task.target: ", "it is 7, but the corpus has 2 columns"),
    (FILES, ["task.metrics=[bleu,bleu]"], "task.metrics.1: ", "bleu is computed twice"),
    (
        FILES,
        ["task.tokenizer.symbols=['<s>']"],
        "task.tokenizer.symbols: ",
        "'<s>' has a special meaning in SentencePiece",
    ),
    (
        FILES,
        ["task.tokenizer.size=200"],
        "task.tokenizer.size: ",
        "200 is too small, because 260 are reserved",
    ),
    (FILES, ["training.init_from=nowhere"], "training.init_from: ", "there is no such folder"),
    (
        FILES,
        ["training.optimizer=adafactor", "training.parallel=fsdp"],
        "training.parallel: ",
        "update shards",
    ),
    (FILES, ["model.d_model=33"], "model.", "33"),
    (
        f"{{type: tagged, tag: <x>, column: 2, corpus: {FILES}}}",
        [],
        "corpus: ",
        "it is 2, but the corpus has 2",
    ),
    (
        f"{{type: mixed, corpora: [{FILES}, {{type: sample}}, {files('train', '[]')}]}}",
        [],
        "corpora.2: ",
        "remove it",
    ),
    (
        f"{{type: mixed, corpora: [{FILES}, {{type: sample, columns: [en]}}]}}",
        [],
        "corpora.1: ",
        "this corpus has 1 columns, but the first has 2",
    ),
    ("{type: wmt14, local: nowhere, archives: []}", [], "local: ", "there is no folder"),
    (
        FILES,
        ["task.metrics=[{type: bleu, tokenize: ja-mecab}]"],
        "task.metrics.0: ",
        "ja-mecab cannot be used",
    ),
]


@pytest.mark.parametrize(("corpus_", "settings", "place", "expected"), MISTAKES)
def test_check_and_run_refuse_with_the_same_message(
    corpus_: str, settings: list[str], place: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    recipe = corpus(corpus_)
    message = refused("check", recipe, *settings)
    assert refused("run", recipe, *settings) == message
    assert place.removesuffix(": ") in message
    assert expected in message
    assert message.startswith(("tiny.yaml:", *(f"{setting}: " for setting in settings)))
    assert not message.startswith("tiny.yaml:") or message.splitlines()[2].strip() == "^"
    assert not [path for path in Path().glob("[rf]*/**/*") if path.is_file() and path.name != ".lock"]


def number_of_problems(message: str) -> int:
    """Return the number of lines that are neither a quoted line nor a caret below it."""
    return sum(not line.startswith("    ") for line in message.splitlines())


@pytest.mark.parametrize("corpus_", [FILES, "{type: sample, train: 300, dev: 6, test: 6}"])
@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_vocabulary_that_is_too_large_for_a_small_text_is_refused(
    corpus_: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    recipe, settings = corpus(corpus_), [f"task.tokenizer.model={model}", "task.tokenizer.size=9000"]
    message = refused("check", recipe, *settings)
    largest = re.fullmatch(
        r"tiny\.yaml: sentencepiece: the training text has too few different subwords for size 9000; "
        r"set size to at most (\d+)\n",
        message,
    )
    assert largest is not None, message
    assert message.partition(": ")[2] in refused("run", recipe, *settings)
    done("check", recipe, settings[0], f"task.tokenizer.size={largest[1]}")
    assert not [path for path in Path("fresh").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_check_reads_no_large_text() -> None:
    recipe = corpus()
    with Path("t.en").open("a") as english, Path("t.de").open("a") as german:
        for file in (english, german):
            file.writelines("x\n" for _ in range(5_000))
    assert "parameters" in done("check", recipe, "task.tokenizer.size=9000")


def test_check_reports_all_problems_at_once() -> None:
    message = refused("check", corpus(files("dev", "[a, b]")), "training.init_from=nowhere", "task.source=5")
    assert message.count(" ^") == 2  # below lines of the file
    assert "\ntraining.init_from=nowhere: " in message
    assert "\ntask.source=5: " in message


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (
            ["task.corpus={type: mixed, corpora: []}", "task.tokenizer.symbols=[a,a]", "training.average=9"],
            [
                "corpora: []}: mixed: corpora is empty",
                "task.tokenizer.symbols=[a,a]: contains",
                "training.average=",
            ],
        ),
        (
            ["model.encoder.attention.heads=5", "model.decoder.attention.heads=7", "training.average=9"],
            ["model.encoder.attention: heads (5)", "model.decoder.attention: heads (7)", "training.average="],
        ),
        (
            [
                "model.decoder.attention=[{type: multihead, heads: 7}]",
                f"task.corpus={files('dev', '[a, b]')}",
            ],
            ["model.decoder.attention.0: heads (7)", "task.corpus.dev.0:", "task.corpus.dev.1:"],
        ),
        (
            ["model.encoder.attention.heads=5", "training.average=9", "training.init_from=nowhere"],
            ["training.average=9: "],
        ),
    ],
)
def test_check_reports_the_errors_of_all_constructors_at_once(settings: list[str], found: list[str]) -> None:
    recipe = corpus()
    message = refused("check", recipe, *settings)
    assert number_of_problems(message) == len(found), message
    assert all(text in message for text in found), message
    assert refused("run", recipe, *settings) == message


@pytest.mark.parametrize("file", ["none.model", "t.en", "."])
@pytest.mark.parametrize("setting", ["task.tokenizer", "task.target_tokenizer"])
def test_unreadable_vocabulary_is_reported_once(setting: str, file: str) -> None:
    settings = [f"{setting}={{type: sentencepiece_file, file: {file}}}", "training.average=9"]
    recipe = corpus()
    for number in (1, 2):
        message = refused("check", recipe, *settings[:number])
        assert number_of_problems(message) == number, message
        path = Path(file).absolute()
        assert f": {setting}.file: {path}: cannot be read as a SentencePiece model (" in message


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("model.d_model=64", "did you mean 'model.inner.d_model'?"),
        ("model.inner.norm=null", "'model.inner.encoder.norm' or 'model.inner.decoder.norm'?"),
        ("seed=2", "did you mean 'training.seed'?"),
        ("training.warmup=9", "did you mean 'training.schedule.warmup'?"),
        ("profile=sample", "choose a profile on the command line, with --profile NAME"),
        ("extend=wmt_en_de", "write extends: RECIPE"),
        ("training.epochs=3", "set steps, the number of updates; `seqx plan RECIPE` prints how many epochs"),
        ("training.max_epochs=3", "set steps, the number of updates"),
        ("training.lr=1", "set it in schedule, as in schedule: {type: constant, rate: 1e-3}"),
    ],
)
def test_unknown_setting_gets_a_hint_at_what_to_write_instead(setting: str, advice: str) -> None:
    path = setting.partition("=")[0]
    for message in (
        refused("check", "wsj_parsing", setting),
        refused("explain", "wsj_parsing", path, "--profile", "sample"),
    ):
        assert f"has no setting {path.rpartition('.')[2]!r}; " in message
        assert advice in message


TREES = """\
extends: wsj_parsing
task:
  corpus: {type: treebank, train: [t], dev: [d], test: [none]}
  metrics: [{type: evalb, parameters: none}]
"""


def test_missing_treebanks_and_evalb_parameters_are_refused() -> None:
    for name in ("t", "d"):
        Path(name).write_text("(TOP (S (NP (NN a)) (VP (VB b))))\n")
    recipe = tiny(TREES.replace("[d]", "[d, empty]"), "trees.yaml")
    Path("empty").touch()
    message = refused("check", recipe)
    assert "task.corpus.dev.1: " in message
    assert "task.corpus.test.0: " in message
    assert "task.metrics.0.parameters: " in message
    assert refused("run", recipe) == message


def test_run_without_a_test_set_ends_with_dev_scores(tmp_path: Path) -> None:
    recipe = corpus(files("test", "[]"))
    done("check", recipe)
    output = done("run", recipe)
    assert "dev bleu" in output
    assert "test bleu" not in output
    assert done("run", recipe).startswith("runs/tiny: this run is finished")
    assert "no text for test" in refused("evaluate", "runs/tiny/model")
    assert done("evaluate", "runs/tiny/model", "--split", "dev")


def test_run_without_dev_and_test_sets_averages_its_last_checkpoints() -> None:
    recipe = corpus("{type: files, train: [t.en, t.de]}")
    done("check", recipe)
    output = done("run", recipe, "training.steps=4")
    assert output == "model: runs/tiny/model\n"
    assert not lines(Path("runs/tiny"), "evaluation")
    assert json.loads(Path("runs/tiny/model/model.json").read_text())["steps"] == [2, 4]
    assert (
        done("run", recipe, "training.steps=4") == f"runs/tiny: this run is finished; its scores:\n{output}"
    )
    assert "| runs/tiny | 39,232 " in done("compare", "runs/tiny", "runs/tiny")
    assert done("run", recipe, "training.steps=6").startswith("model: ")  # it continues
    assert done("translate", "runs/tiny/model", text="the dog\n").count("\n") == 1


def standard_error(*arguments: str | Path) -> str:
    """Return the standard error of a command that succeeds."""
    result = seqx(*arguments)
    assert result.exit_code == 0, result.output
    return result.stderr


def test_empty_and_copied_rows_of_dev_and_test_are_reported() -> None:
    recipe = corpus(files("test", "[d.en, blank]"))
    Path("blank").write_text("\n" * 6)
    Path("d.de").write_text("".join([TEXT[0], *TEXT[:4], "\n"]))
    Path("d.en").write_text("".join([TEXT[0], TEXT[0], TEXT[0].strip() + " \n", *TEXT[3:6]]))
    for folder in ("runs/tiny", "runs/again"):  # the second run reads prepared data
        output = standard_error("run", recipe, "training.steps=2", "--folder", folder)
        assert "test: 6 of 6 references are empty\n" in output
        assert "dev: 1 of 6 references are empty\n" in output
        assert "dev: 2 of 6 sources equal their references\n" in output
    assert "test: 6 of 6 references are empty\n" in standard_error("evaluate", "runs/tiny/model")
    assert "6 of 6 references are empty\n" in standard_error("score", "--metric", "bleu", "blank", "d.en")
    assert "empty" not in standard_error("score", "--metric", "bleu", "t.en", "t.de")
    noticed = [row["what"] for row in lines(Path("runs/tiny"), "noticed")]
    assert "test: 6 of 6 references are empty" in noticed


def test_repeated_dev_rows_are_reported() -> None:
    recipe = corpus()
    Path("d.en").write_text(TEXT[0] * 6)
    Path("d.de").write_text(TEXT[1] * 6)
    output = standard_error("run", recipe, "training.steps=2")
    assert f"dev: 6 of 6 rows are identical: '{TEXT[0].strip()} / {TEXT[1].strip()}'\n" in output


@pytest.mark.promise("long-lines-are-not-scored-whole")
def test_very_long_dev_line_is_left_out_of_perplexity_and_answered_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seqx.interfaces.networks import Model

    recipe = corpus()
    before = Model.score
    widths = []

    def score(self: Model, batch: Any) -> Any:
        widths.append(max(column.values.size(1) for column in batch.columns.values()))
        return before(self, batch)

    monkeypatch.setattr(Model, "score", score)
    long = "the dog sees the man and " * 700
    for name in ("d.en", "d.de"):
        Path(name).write_text(Path(name).read_text() + long + "\n")
    output = standard_error("run", recipe, "training.steps=1", "search.extra=2", "search.ratio=0.1")
    long = "have more than 24 tokens"
    assert re.search(
        rf"^dev: 1 of \d+ examples {long}; the perplexity leaves them out$", output, re.MULTILINE
    )
    assert re.search(rf"^dev: 1 of \d+ inputs {long}; they were answered in parts$", output, re.MULTILINE)
    assert 0 < max(widths) <= 24


def test_included_recipes_need_no_package_of_an_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"draw", "tensorboard"} <= extras.keys()
    missing = {"matplotlib", "tensorboard", "atheris"}

    class HideExtras:
        """A finder that hides the packages of extras."""

        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] in missing:
                raise ModuleNotFoundError(name)

    assert all(PathFinder.find_spec(name) for name in ("sacremoses", "rouge_score"))
    monkeypatch.setattr(sys, "meta_path", [HideExtras(), *sys.meta_path])
    monkeypatch.setenv("SEQX_DATA", "nowhere")
    for file in sorted((ROOT / "recipes").glob("*.yaml")):
        result = seqx("check", file)
        errors = [line for line in result.stderr.splitlines() if line.startswith(str(file))]
        assert all("task.corpus" in line for line in errors), errors  # only missing text may be reported


RISES = (
    "training.schedule: the learning rate still rises at the last update, 3; set a shorter warm-up, or more "
    "training.steps"
)


def test_commands_warn_once_of_a_warm_up_longer_than_the_run() -> None:
    long = ["training.steps=3", "training.validate_every=3"]
    recipe = corpus()
    Path("sweep.yaml").write_text(f"recipe: {recipe}\nsettings: {{training.seed: [1, 2]}}\n")
    for command, prefix in (
        (("check", recipe), f"{recipe}: "),
        (("plan", recipe, "--seconds=0"), f"{recipe}: "),
        (("sweep", "sweep.yaml", "--write", "slurm", "jobs"), "sweep: all trials: "),
        (("run", recipe), ""),
    ):
        result = seqx(*command, *long)
        assert result.exit_code == 0, result.output
        assert result.stderr.count(f"{prefix}{RISES}\n") == 1, result.stderr
        assert result.stderr.count("still rises") == 1
    assert "still rises" not in seqx("check", recipe, "training.steps=6").stderr


def test_check_of_a_python_file_refuses_settings_of_recipes() -> None:
    Path("mine.py").write_text("")
    for arguments, unused in (
        (["training.steps=1"], "training.steps=1"),
        (["--profile", "sample"], "--profile sample"),
        ([corpus(), "a+=1", "b=2"], "a+=1"),
    ):
        message = refused("check", "mine.py", *arguments)
        expected = f"mine.py: {unused} changes a recipe, not a Python file; check the file without it"
        assert message.count(expected) == 1
