"""`seqx recipes` lists included recipes with their data, and `seqx components` needs no torch once it ran."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seqx.commands import listing_cache
from tests.stories.tiny import done, refused
from tests.test_startup import imported

Listed = dict[tuple[str, str | None], dict[str, Any]]


@pytest.fixture
def listed() -> Listed:
    rows = json.loads(done("recipes", "--json"))["recipes"]
    return {(row["name"], row["profile"]): row for row in rows}


def test_recipes_lists_size_task_and_time(listed: Listed) -> None:
    base, sample = listed["wmt_en_de", None], listed["wmt_en_de", "sample"]
    assert (base["task"], base["parameters"]) == ("translation", 63_045_632)
    assert base["data"]["download_bytes"] == 1_656_362_162
    assert base["missing"] == base["data"]["files"]
    assert sample["data"]["files"] == sample["missing"] == []
    assert 0 < sample["estimated_seconds"] < base["estimated_seconds"] / 1000
    assert ("table3/base", "sample") not in listed, "the profile of the parent is not one of its own"


def test_recipes_finds_files_of_the_current_folder(
    listed: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listed["language_model", None]["missing"] == ["train.txt", "dev.txt", "test.txt"]
    monkeypatch.chdir(tmp_path)
    for name in ("train.txt", "dev.txt"):
        Path(name).touch()
    lines = done("recipes", "language_model").splitlines()
    assert lines[1].endswith(" train.txt, dev.txt, test.txt: without test.txt")
    Path("test.txt").touch()
    assert (
        done("recipes", "language_model").splitlines()[1].endswith(" train.txt, dev.txt, test.txt: present")
    )


def test_recipes_names_the_variable_of_missing_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQX_DATA", raising=False)
    assert "${SEQX_DATA}/craft_treebank: missing; set the variable SEQX_DATA" in done("recipes", "craft")
    assert refused("recipes", "tatoeba_en_fr").startswith("no recipe contains tatoeba_en_fr; did you mean ")


def test_stored_listings_need_no_torch(tmp_path: Path) -> None:
    for command in (["components", "attention"], ["recipes", "wmt"]):
        first = done(*command)
        modules = imported(tmp_path, *command)
        assert "torch" not in modules
        assert done(*command) == first


def test_listing_is_created_again_after_a_change(tmp_path: Path) -> None:
    file, calls = tmp_path / "mine.py", []

    def create() -> tuple[int, bool]:
        calls.append(1)
        return len(calls), True

    def stored() -> object:
        return listing_cache.from_cache("test", [file], create)

    file.write_text("first")
    assert [stored(), stored()] == [1, 1]
    file.write_text("second")
    assert [stored(), stored()] == [2, 2]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_only_a_user_at_a_terminal_is_told_to_wait_for_a_listing(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    for _ in range(2):
        listing_cache.from_cache("test", [tmp_path / "file"], lambda: ("value", True))
    line = "test: reading plugins; the result is stored for the next call\n"
    assert capsys.readouterr().err == line * is_terminal


def test_listing_needs_no_writable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for cache in (str(tmp_path / "file"), "~nobody-here/cache"):
        monkeypatch.setenv("SEQX_CACHE", cache)
        assert listing_cache.from_cache("test", [], lambda: ("value", True)) == "value"


def test_components_include_a_local_plugin_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: wmt_en_de\nplugins: [./mine.py]\n")
    for rate in ("0.5", "0.25"):
        Path("mine.py").write_text(
            "import seqx\n\nclass Mine(seqx.Schedule):\n    'A schedule.'\n"
            f"    def __init__(self, *, rate: float = {rate}):\n        'Keep the rate.'\n"
            "    def __call__(self, step, steps):\n        return 1.0\n\n"
            "@seqx.hookimpl\ndef seqx_register(registry):\n    registry.add(seqx.Schedule, mine=Mine)\n"
        )
        assert f"rate: float (default {rate})\n" in done(
            "components", "schedule", "mine", "--recipe", "mine.yaml"
        )
