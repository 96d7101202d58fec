"""Mistakes in recipes are reported all at once, each with line and column."""

from pathlib import Path

import pytest

from tests.stories.tiny import TINY, done, refused, tiny

HERE = Path(__file__).parent


def test_nine_mistakes_give_nine_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    message = refused("run", "mistakes.yaml", "search.size=-1")
    assert message == (HERE / "mistakes.txt").read_text(encoding="utf-8")
    assert sum(line.strip() == "^" for line in message.splitlines()) == 8
    assert "\nsearch.size=-1: " in message
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "place", "message"),
    [
        (
            ["training.average=7"],
            "training.average=7: ",
            "7 checkpoints are averaged, but keep_checkpoints is 5",
        ),
        (["model.encoder.attention.heads=3"], "model.encoder.attention.heads=3: ", "heads=3"),
        (
            ["training.seed=99999999999999999999999"],
            "training.seed=99999999999999999999999: ",
            "should be less than 18446744073709551616",
        ),
        (
            ["training.tokens=10000000000000000"],
            "training.tokens=10000000000000000: ",
            "should be less than 9007199254740992",
        ),
        (
            ["training.spike.window=10000000000"],
            "training.spike.window=10000000000: ",
            "should be less than 2147483648",
        ),
        (["training.seed=-1"], "training.seed=-1: ", "should be greater than or equal to 0"),
        (
            ["search.processors=[{type: repetition_penalty, penalty: .inf}]"],
            "search.processors=[{type: repetition_penalty, penalty: .inf}]: ",
            "search.processors.0.penalty: Input should be a finite number",
        ),
        (["task.metrics=[]"], "task.metrics=[]: ", "task: metrics is empty; name at least one"),
        (["--profile", "sampel"], "tiny.yaml:1:1", "no profile is called 'sampel'; there is none"),
    ],
)
def test_inconsistent_settings_and_unknown_profiles(arguments: list[str], place: str, message: str) -> None:
    refusal = refused("run", tiny(TINY), *arguments)
    assert refusal.startswith(place)
    assert message in refusal
    assert len(refusal.splitlines()) <= 3
    assert not [*Path().rglob("recipe.yaml")]


def test_largest_numbers_are_accepted() -> None:
    huge = 10**30  # seeds of Python's generator are not bounded
    settings = (f"seed={2**64 - 1}", f"tokens={2**53 - 1}", f"spike.window={2**31 - 1}", "steps=2")
    done("run", tiny(TINY), f"task.corpus.seed={huge}", *(f"training.{setting}" for setting in settings))
    output = done(
        "translate", "runs/tiny", f"search={{type: sampling, seed: {huge}}}", text="A dog sleeps.\n"
    )
    assert output.count("\n") == 1
