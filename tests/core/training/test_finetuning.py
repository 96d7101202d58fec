"""Fine-tuning: settings of the initial model are kept, refused or reported, and stored in the recipe."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import seqx
from seqx import recipe
from seqx.errors import RecipeError
from seqx.inference.loading import InferenceRecipe
from seqx.plugin.loading import load_plugins
from seqx.recipe import VocabularySettings
from seqx.recipe.yaml_tree import parse
from seqx.training.description import Experiment
from seqx.training.finetuning import initial_model_warnings
from seqx_parsing import Parsing
from seqx_text_tasks import Classification
from tests.letters import Letters, Rows
from tests.models import PARSING, RECIPE
from tests.stories.tiny import seqx as call

TRAINING = """\
training:
  steps: 1
  tokens: 300
  average: 1
  objective: {type: cross_entropy}
  optimizer: {type: adam}
  schedule: {type: constant, rate: 1e-3}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder, with `tiny.yaml` and its run `first`."""
    place = tmp_path_factory.mktemp("runs")
    (place / "tiny.yaml").write_text(RECIPE + TRAINING, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(place / "cache"))
        patch.chdir(place)
        result = call("run", "tiny.yaml", "--folder", "first", "--device", "cpu")
        assert result.exit_code == 0, result.output
        yield place


# Setting: the value of the initial model, the value of the recipe, and the advice.
REFUSED = {
    "task.tokenizer.size=300": ("400", "300", "size: 400"),
    "task.tokenizer.model=unigram": ("bpe", "unigram", "model: bpe"),
    "task.tokenizer.symbols=[<dom>]": ("[]", "[<dom>]", "symbols: []"),
    "task.tokenizer.byte_fallback=false": ("true", "false", "byte_fallback: true"),
    "task.tokenizer.coverage=1.0": ("0.9995", "1.0", "coverage: 0.9995"),
    "task.tokenizer.sample=10": ("1000000", "10", "sample: 1000000"),
    "task.tokenizer=labels": (
        "sentencepiece",
        "labels",
        "tokenizer: {type: sentencepiece, size: 400, model: bpe,",
    ),
    "task.target_tokenizer=labels": ("null", "labels", "target_tokenizer: null"),
}


@pytest.mark.parametrize("setting", REFUSED)
def test_init_from_refuses_other_settings_of_the_vocabulary(folder: Path, setting: str) -> None:
    initial_value, value, advice = REFUSED[setting]
    for command in (("check", "tiny.yaml"), ("run", "tiny.yaml", "--folder", "second")):
        result = call(*command, "training.init_from=first", setting)
        assert (result.exit_code, result.stdout) == (2, "")
        message = f"{setting}: {value} does not fit the vocabulary of the model in first/model ("
        assert message in result.stderr
        assert (
            f"(training.init_from), which was learned with {initial_value}; write {advice}" in result.stderr
        )
        assert ", or leave training.init_from out\n" in result.stderr
        assert not Path("second/recipe.yaml").exists()


def test_init_from_says_what_to_do_with_a_damaged_model(folder: Path) -> None:
    shutil.copytree(Path("first") / "model", "damaged")
    os.truncate("damaged/model.safetensors", 1000)
    result = call("check", "tiny.yaml", "training.init_from=damaged")
    assert result.exit_code == 2
    assert "damaged/model.safetensors: cannot be read (" in result.stderr
    assert "; copy the model again, or name another one" in result.stderr


def test_init_from_refuses_a_model_of_another_task(folder: Path) -> None:
    parser = f"extends: {Path(__file__).parents[3] / 'recipes' / 'wsj_parsing.yaml'}\n"
    Path("parser.yaml").write_text(f"{parser}training: {{init_from: first/model}}\n", encoding="utf-8")
    result = call("check", "parser.yaml", "--profile", "sample")
    assert result.exit_code == 2
    assert (
        "parser.yaml:2:23: training.init_from: the model in first/model was trained for the task translation"
        in result.stderr
    )
    assert "does not fit the task parsing; name a model of the task parsing\n" in result.stderr
    assert result.stderr.count("training.init_from") == 1


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("model.d_model=16", "  model.d_model: 32 in the model, 16 in this recipe\n"),
        ("model.tie_embeddings=none", "  model.tie_embeddings: all in the model, none in this recipe\n"),
        ("model.encoder.layers=2", "  model.encoder.layers: 1 in the model, 2 in this recipe\n"),
    ],
)
def test_init_from_refuses_weights_that_do_not_fit(folder: Path, setting: str, difference: str) -> None:
    for command in (("check", "tiny.yaml"), ("run", "tiny.yaml", "--folder", "second")):
        result = call(*command, "training.init_from=first", setting)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(
            "training.init_from=first: the model in first/model has other sizes or parts than "
            "that of this recipe; make these settings equal:\n"
        )
        assert difference in result.stderr
        assert not Path("second/recipe.yaml").exists()


def test_init_from_refuses_a_truncated_weights_file(folder: Path) -> None:
    cut = Path(shutil.copytree("first/model", "cut"), "model.safetensors")
    cut.write_bytes(cut.read_bytes()[:50])
    for command in (("check", "tiny.yaml"), ("run", "tiny.yaml", "--folder", "second")):
        result = call(*command, "training.init_from=cut")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("training.init_from=cut: cut/model.safetensors: cannot be")


def test_init_from_reports_all_problems_at_once_with_places(folder: Path) -> None:
    text = RECIPE.replace("size: 400", "size: 300").replace("bpe", "unigram") + TRAINING
    Path("wrong.yaml").write_text(f"{text}  init_from: first/model\n", encoding="utf-8")
    stderr = call("check", "wrong.yaml").stderr
    assert [
        line.partition(" the ")[0].removesuffix(" does not fit")
        for line in stderr.splitlines()
        if line.startswith("wrong")
    ] == [
        "wrong.yaml:4:43: task.tokenizer.model: unigram",
        "wrong.yaml:4:58: task.tokenizer.size: 300",
    ]
    # A problem of a default has the place of its parent.
    with_defaults = text.replace("{type: sentencepiece, model: unigram, size: 300}", "sentencepiece")
    Path("wrong.yaml").write_text(f"{with_defaults}  init_from: first/model\n", encoding="utf-8")
    assert call("check", "wrong.yaml").stderr.startswith("wrong.yaml:4:14: task.tokenizer.size:")


def test_settings_that_a_model_does_not_record_are_no_differences_from_defaults(folder: Path) -> None:
    file = Path(shutil.copytree("first/model", "imported"), "recipe.yaml")
    text, count = re.subn(r" +norm_order: post\n", "", file.read_text("utf-8"))
    assert count == 2
    file.write_text(text, encoding="utf-8")
    plugins = load_plugins()
    for settings, expected in (
        ((), 0),
        (("model.encoder.norm_order=pre",), 1),
    ):
        tree = recipe.load("tiny.yaml", None, settings).tree
        checked = recipe.check(tree, plugins.registry, Experiment)
        assert len([*initial_model_warnings(Path("imported"), checked)]) == expected


def test_init_from_warns_about_other_settings(folder: Path) -> None:
    settings = (
        "task.tokenizer.alpha=0.3",
        "task.sample_segmentation=true",
        "task.corpus.seed=2",
        "task.source_normalizers=[lowercase]",
        "task.tags=[The]",
        "model.encoder.dropout=0.25",
    )
    result = call(
        *("run", "tiny.yaml", "training.init_from=first", *settings, "--folder", "third", "--device", "cpu"),
        "task.corpus={type: tagged, corpus: {type: sample, train: 300, dev: 6, test: 6}, tag: The}",
    )
    assert result.exit_code == 0, result.output
    assert (
        "training.init_from: the weights of first/model were trained with other settings ("
        "model.encoder.dropout: 0.1 in the model, 0.25 in this recipe; task.source_normalizers: [] in the "
        "model, ['lowercase'] in this recipe); make them equal, unless the change is intended\n"
    ) in result.stderr
    assert "task.tags: the vocabulary splits The into several symbols; add it to task.tok" in result.stderr
    for place in ("third", "third/model"):
        stored = yaml.safe_load(Path(place, "recipe.yaml").read_text("utf-8"))
        first = yaml.safe_load(Path("first/recipe.yaml").read_text("utf-8"))
        assert stored["task"]["tokenizer"] == first["task"]["tokenizer"] | {"alpha": 0.3}
    files = (Path(name, "task/tokenizer/sentencepiece.model").read_bytes() for name in ("first", "third"))
    assert len(set(files)) == 1


def test_fine_tuning_run_of_an_earlier_version_resumes(folder: Path) -> None:
    """An earlier version ignored the size of the vocabulary in the recipe."""
    command = ("run", "tiny.yaml", "training.init_from=first", "--folder", "began", "--device", "cpu")
    assert call(*command).exit_code == 0
    file = Path("began/recipe.yaml")
    file.write_text(file.read_text("utf-8").replace("size: 400", "size: 399"), encoding="utf-8")
    result = call(*command, "task.tokenizer.size=399", "training.steps=2")
    assert result.exit_code == 0, result.output


def test_overrides_cannot_change_the_vocabulary_of_a_model(folder: Path) -> None:
    for setting, write in (
        ("task.tokenizer.symbols=[<x>]", "symbols: []"),
        ("task.target_tokenizer=labels", "target_tokenizer: null"),
    ):
        with pytest.raises(RecipeError, match=re.escape(setting) + f": .*; write {re.escape(write)}"):
            seqx.load("first", device="cpu", overrides=[setting])
    assert seqx.load("first", device="cpu", overrides=["task.tokenizer.alpha=0.3", "search.size=1"])


def problems(text: str, initial_task: Any, registry: Any = None) -> list[str]:
    """Return the problems of a recipe whose run starts from a model with the settings `initial_task`."""
    registry = registry or load_plugins().registry
    checked = recipe.check(parse(text, "r.yaml"), registry, InferenceRecipe)
    task: Any = checked.settings["task"]
    return [str(problem).splitlines()[0] for problem in VocabularySettings("m").problems(task, initial_task)]


def task_settings(text: str) -> Any:
    checked = recipe.check(parse(text, "r.yaml"), load_plugins().registry, InferenceRecipe)
    return checked.plain()["task"]


@pytest.mark.parametrize(
    ("linearisation", "key"),
    [
        ("in_order", "task.linearisation"),
        ("{type: top_down, tags: true}", "task.linearisation.tags"),
        ("{type: top_down, depth: 9, opens: 4}", None),
        ("top_down", None),
    ],
)
def test_init_from_refuses_another_linearisation(linearisation: str, key: str | None) -> None:
    text = PARSING.replace("linearisation: top_down", f"linearisation: {linearisation}")
    keys = [line.split(": ")[1] for line in problems(text, task_settings(PARSING))]
    assert keys == ([key] if key else [])


class PluginTokenizer(Letters):
    """A tokenizer of a plugin without `adjustable` settings."""

    def __init__(self, *, case: bool = True) -> None:
        super().__init__()


def test_init_from_compares_all_settings_of_a_tokenizer_except_adjustable_ones() -> None:
    registry = load_plugins().registry
    registry.add(seqx.Tokenizer, own=PluginTokenizer)
    text = RECIPE.replace("{type: sentencepiece, model: bpe, size: 400}", "{type: own, case: false}")
    initial_task = task_settings(RECIPE)
    assert problems(text, initial_task | {"tokenizer": {"type": "own", "case": False}}, registry) == []
    (problem,) = problems(text, initial_task | {"tokenizer": {"type": "own", "case": True}}, registry)
    assert problem == (
        "r.yaml:4:32: task.tokenizer.case: false does not fit the vocabulary of the model in m, which was "
        "learned with true; write case: true"
    )
    # The tokenizer had no such setting when the model was trained.
    assert (
        problems(
            text.replace("{type: own, case: false}", "own"), initial_task | {"tokenizer": "own"}, registry
        )
        == []
    )
    (problem,) = problems(text, initial_task | {"tokenizer": "own"}, registry)
    assert problem.endswith("which was learned without it; leave case out")


def test_init_from_refuses_new_labels(tmp_path: Path) -> None:
    rows = [("good .", "positive"), ("bad .", "negative")]
    settings: dict[str, Any] = {"tokenizer": Letters(), "metrics": [accuracy()]}
    first = Classification(corpus=Rows(train=rows), **settings)
    first.learn(tmp_path, lambda _what, _share: None)
    other = Classification(corpus=Rows(train=[("so so .", "neutral")]), **settings)
    other.load(tmp_path)
    with pytest.raises(seqx.UserError, match="has the label 'neutral', but the model of training"):
        other.example(("so so .", "neutral"), training=True)
    assert isinstance(other.example(("so so .", "neutral"), training=False), seqx.Example)
    assert isinstance(other.example(("good .", "positive"), training=True), seqx.Example)


def accuracy() -> seqx.Metric:
    from seqx_text import Accuracy

    return Accuracy()


def test_init_from_rejects_and_counts_trees_outside_the_vocabulary(tmp_path: Path) -> None:
    checked: Any = recipe.check(parse(PARSING, "r.yaml"), load_plugins().registry, InferenceRecipe)()
    task: Parsing = checked.task
    task.fetch(tmp_path, lambda *_: None)
    task.learn(tmp_path, lambda *_: None)
    for tree in ("(TOP (XYZ (DT The) (NN dog)))", "(TOP (NP (DT The) (STTS dog)))"):
        dropped = task.example((tree,), training=True)
        assert dropped == seqx.Rejected("with labels that the vocabulary lacks")
        assert isinstance(task.example((tree,), training=False), seqx.Example)
    task.tags = "none"
    assert isinstance(task.example(("(TOP (NP (DT The) (STTS dog)))",), training=True), seqx.Example)
