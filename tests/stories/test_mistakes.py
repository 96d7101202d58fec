"""Mistakes in recipes: each at its place, all at once."""

from pathlib import Path

import pytest

from tests.stories.tiny import TINY, refused, tiny

HERE = Path(__file__).parent


def test_nine_mistakes_nine_messages(monkeypatch: pytest.MonkeyPatch) -> None:
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
            "training: average=7 checkpoints, but only keep=5 are kept",
        ),
        (["model.encoder.attention.heads=3"], "command line:1:1", "heads=3"),
        (["task.metrics=[]"], "command line:1:1", "task: metrics is empty; name one at least"),
        (["--profile", "sampel"], "tiny.yaml:1:1", "no profile is called 'sampel'; there is none"),
    ],
)
def test_settings_at_odds_and_unknown_profiles(arguments: list[str], place: str, message: str) -> None:
    said = refused("run", tiny(TINY), *arguments)
    assert said.startswith(place)
    assert message in said
    assert len(said.splitlines()) <= 3
    assert not [*Path().rglob("recipe.yaml")]
