"""Arguments of commands are split into names and KEY=VALUE."""

from pathlib import Path

import pytest

from seqx.commands.arguments import split_overrides


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lr=1e-3/model", "search.size=8", "plain"):
        Path(name).mkdir(parents=True)


@pytest.mark.parametrize(
    "name", ["lr=1e-3/model", "./lr=1e-3/model", "runs/lr=1/model", "search.size=8", "plain", "nowhere", ""]
)
def test_names_are_not_overrides(name: str) -> None:
    assert split_overrides([name]) == ([name], [])


@pytest.mark.parametrize(
    "override",
    [
        "search.size=4",
        "task.metrics.0=chrf",
        "search={type: beam, size: 4}",
        "task.corpus={type: files, test: [a=b/c, d]}",
        "search..size=4",  # reported as a wrong override
        "=4",
        "callbacks+=tensorboard",
        f"task.corpus.test={'x' * 5000}",
    ],
)
def test_overrides_are_not_names(override: str) -> None:
    assert split_overrides([override]) == ([], [override])


def test_names_and_overrides_keep_their_order() -> None:
    assert split_overrides(["b", "x=1", "a", "x.y=2", "lr=1e-3/model"]) == (
        ["b", "a", "lr=1e-3/model"],
        ["x=1", "x.y=2"],
    )
