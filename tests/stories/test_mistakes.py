"""Mistakes in recipes: each at its place, all at once."""

from pathlib import Path

import pytest

from tests.stories.tiny import TINY, done, refused, tiny

HERE = Path(__file__).parent


def test_nine_mistakes_give_nine_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    said = refused("run", "mistakes.yaml", "search.size=-1")
    assert said == (HERE / "mistakes.txt").read_text(encoding="utf-8")
    assert sum(line.strip() == "^" for line in said.splitlines()) == 9
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "place", "message"),
    [
        (
            ["training.average=7"],
            "command line:1:1",
            "training: average: 7 checkpoints are averaged, but keep_checkpoints is 5",
        ),
        (["model.encoder.attention.heads=3"], "command line:1:1", "heads=3"),
        (
            ["training.seed=99999999999999999999999"],
            "command line:1:15",
            "should be less than 18446744073709551616",
        ),
        (["training.seed=-1"], "command line:1:15", "should be greater than or equal to 0"),
        (["task.metrics=[]"], "command line:1:1", "task: metrics is empty; name at least one"),
        (["--profile", "sampel"], "tiny.yaml:1:1", "no profile is called 'sampel'; there is none"),
    ],
)
def test_inconsistent_settings_and_unknown_profiles(arguments: list[str], place: str, message: str) -> None:
    said = refused("run", tiny(TINY), *arguments)
    assert said.startswith(place)
    assert message in said
    assert len(said.splitlines()) <= 3
    assert not [*Path().rglob("recipe.yaml")]


def test_the_largest_seeds_train() -> None:
    huge = 10**30  # what is drawn in Python has no bound
    done("run", tiny(TINY), f"training.seed={2**64 - 1}", f"task.corpus.seed={huge}", "training.steps=2")
    said = done("translate", "runs/tiny", f"search={{type: sampling, seed: {huge}}}", text="A dog sleeps.\n")
    assert said.count("\n") == 1
