"""`seqx new recipe` writes a recipe that `seqx check` accepts, for each task with a starting point."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from seqx.cli import main
from seqx.commands import new_recipe
from seqx.commands.recipe_sizes import PRESETS, sizes
from seqx.interfaces.starting_point import StartingPoint
from seqx.interfaces.task import Task
from seqx.plugin.loading import Plugins
from seqx.plugin.registry import Registry
from seqx_translation.task import Translation
from tests.stories.tiny import done, refused

DRAW = random.Random(0)
PAIRS = [
    ["".join(DRAW.choices("abcdefghijklmnop", k=9)) for _ in range(2)] for _ in range(40)
]  # enough different subwords for a vocabulary
TEXTS = {
    "text": "".join(f"{one} {other} sleeps\n" for one, other in PAIRS),
    "trees": "".join(f"(S (NP (DT {one}) (NN {other})) (VP (VBZ sleeps)))\n" for one, other in PAIRS),
    "conll": "".join(f"{one} DT\n{other} NN\n\n" for one, other in PAIRS),
}
FILES = {
    "classification": ["text", "text"],
    "language_model": ["text"],
    "parsing": ["trees"],
    "tagging": ["conll"],
    "text_to_text": ["text", "text"],
    "translation": ["text", "text"],
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_recipe, "matmul_speed", lambda: 1e11)
    for name, text in TEXTS.items():
        Path(name).write_text(text)


def options(split: str, files: Sequence[str]) -> list[str]:
    return [word for file in files for word in (f"--{split}", file)]


def corpus() -> dict[str, Any]:
    """Return the section with the corpus of the recipe that was written."""
    found: dict[str, Any] = yaml.safe_load(Path("my.yaml").read_text())["task"]["corpus"]
    return found


@pytest.mark.parametrize("task", FILES)
def test_new_recipe_is_accepted_by_check(task: str) -> None:
    files = FILES[task]
    splits = [*options("train", files), *options("dev", files)]
    output = done("new", "recipe", "my.yaml", "--task", task, *splits, "--budget", "10m")
    assert output.startswith("my.yaml: written and checked; ")
    assert done("check", "my.yaml").split() == ["my.yaml:", output.split()[4], "parameters"]
    text = Path("my.yaml").read_text()
    assert "$" not in text
    written = yaml.safe_load(text)
    assert {"type": "metrics", "every": max(1, min(100, written["training"]["steps"] // 50))} in written[
        "callbacks"
    ]
    assert text.count("#") > 10
    assert corpus()["train"] in (files, files[0])
    assert "test" not in corpus()


def test_new_recipe_says_that_the_text_has_too_few_subwords() -> None:
    Path("text").write_text("the dog sleeps\n" * 40)
    splits = [*options("train", FILES["translation"]), *options("dev", FILES["translation"])]
    message = refused("new", "recipe", "my.yaml", "--task", "translation", *splits, "--budget", "10m")
    assert message.startswith(
        "my.yaml: sentencepiece: the training text has too few different subwords for size "
    )
    assert Path("my.yaml").exists()  # users can correct it


def test_every_task_with_a_starting_point_is_tested() -> None:
    assert [*new_recipe._tasks()] == [*FILES]


def test_new_recipe_asks_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_recipe, "_is_terminal", lambda: True)
    answers = "tagging\nconll\n\nconll\n5m\n"
    result = CliRunner().invoke(main, ["new", "recipe", "my.yaml"], input=answers)
    assert result.exit_code == 0, result.output
    assert f"Task ({', '.join(FILES)}): " in result.stderr
    assert corpus() == {"type": "conll", "train": "conll", "test": "conll"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my.txt", "--task", "tagging"], "my.txt: the name of a recipe ends in .yaml; write my.yaml"),
        (["text.yaml"], "text.yaml: exists already; remove it, or choose another name"),
        (["a.yaml", "--task", "taging"], "--task: there is no template for the task 'taging'; did"),
        (["a.yaml", "--task", "tagging", "--train", "no"], "--train: there is no file no; correct the path"),
        (
            ["a.yaml", "--task", "translation", "--train", "text"],
            "--train: the task needs 2 files (source text, its translation), not 1",
        ),
        (
            ["a.yaml", "--task", "tagging", "--train", "conll", "--budget", "soon"],
            "--budget: 'soon' is not a time; write for example 90s, 30m, 2h or 1d",
        ),
    ],
)
def test_new_recipe_refuses(arguments: list[str], message: str) -> None:
    Path("text.yaml").touch()
    assert refused("new", "recipe", *arguments).startswith(message)


def test_new_recipe_without_a_terminal_names_the_missing_option() -> None:
    stderr = refused("new", "recipe", "a.yaml", "--task", "tagging")
    assert "Missing option '--train': Training files, separated by spaces (" in stderr
    assert "\nExample: seqx new recipe my.yaml --task translation " in stderr


def test_task_of_another_plugin_offers_a_starting_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Translation):
        """Another task."""

        starting_point = StartingPoint(columns=("text",), template=Path("mine.yaml"))

    registry = Registry()
    registry.add(Task, mine=Mine)
    monkeypatch.setattr(new_recipe, "load_plugins", lambda: Plugins(registry))
    assert new_recipe._tasks() == {"mine": (Mine, Mine.starting_point)}


def test_sizes_grow_with_text_and_budget() -> None:
    hour = sizes(2_000_000, 2, 3600, 4e11)
    assert hour.preset is PRESETS[1]
    assert sizes(2_000_000, 2, 60, 4e11).preset is PRESETS[0], "a minute is too short for the larger model"
    assert sizes(10_000, 2, 36_000, 4e11).preset is PRESETS[0], "the text is too small for the larger model"
    assert sizes(50_000_000, 2, 1e6, 4e11).preset is PRESETS[2]
    assert 0.8 * 3600 < hour.seconds <= 3600
    assert not hour.is_limited_by_text
    short = sizes(10_000, 2, 36_000, 4e11)
    assert short.is_limited_by_text
    assert short.seconds < 3600, "at most 40 epochs"


def test_sizes_leave_time_for_scores() -> None:
    plain = sizes(100_000, 2, 600, 1e11)
    scored = sizes(100_000, 2, 600, 1e11, dev_words=10_000, test_words=10_000)
    assert scored.steps < plain.steps
    assert scored.scoring_seconds > 0.1 * scored.seconds
    assert scored.seconds == pytest.approx(600, rel=0.05)
    cheap = sizes(100_000, 2, 600, 1e11, dev_words=10_000, test_words=10_000, has_search=False)
    assert cheap.scoring_seconds < scored.scoring_seconds / 10
    assert plain.validations == cheap.validations == 5


def test_sizes_have_fewer_validations_if_scores_take_long() -> None:
    fewer = sizes(100_000, 2, 600, 1e11, dev_words=15_000, test_words=5_000)
    assert 1 < fewer.validations < 5
    assert 200 < fewer.scoring_seconds <= 300
    assert fewer.seconds == pytest.approx(600, rel=0.05)
    assert fewer.fits_budget
    assert fewer.template_values()["every"] == fewer.steps // fewer.validations
    steps = {20: 1, 200: 4, 4000: 80, 100_000: 100}
    assert [replace(fewer, steps=each).template_values()["record_every"] for each in steps] == [
        *steps.values()
    ]


def test_sizes_say_that_scores_alone_exceed_the_budget() -> None:
    long = sizes(100_000, 2, 60, 1e11, dev_words=60_000, test_words=60_000)
    assert long.validations == 1
    assert long.seconds - long.scoring_seconds == pytest.approx(30, rel=0.1), (
        "half of the budget is for updates"
    )
    assert not long.fits_budget


@pytest.mark.parametrize(
    ("budget", "copies", "printed", "comment"),
    [
        (
            "1s",
            1,
            "The run takes longer than --budget: 20 updates take ",
            "longer than --budget: 20 updates take ",
        ),
        ("60s", 400, None, "The time limits the number of updates, not the text: "),
        ("1h", 1, "The text limits the run, not the time: 120 words allow", "The text limits the number of "),
    ],
)
def test_new_recipe_says_what_limits_the_run(
    budget: str, copies: int, printed: str | None, comment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_recipe, "matmul_speed", lambda: 1e11)
    Path("train").write_text(Path("text").read_text() * copies)
    output = done(
        *("new", "recipe", "my.yaml", "--task", "translation", "--budget", budget),
        *options("train", ["train", "train"]),
        *options("dev", ["text", "text"]),
    )
    written = " ".join(Path("my.yaml").read_text().replace("#", " ").split())
    assert comment in written
    assert "fit this text" not in written
    assert " for scores)" in output
    assert printed is None or printed in output
    assert ("updates are few; with fewer than 400 " in output) == (not comment.startswith("The text"))
