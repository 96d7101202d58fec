"""Run all commands and listings of the documents, in order."""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx import SPLITS
from seqx.plugin.loading import load_plugins
from seqx_sample import Sample
from tests.docs import command_server
from tests.docs.listings import DOCUMENTS, ROOT, Command, Listing, first_missing_line, listings

Shell = Callable[..., subprocess.CompletedProcess[str]]

READER_FILES: dict[str, dict[str, tuple[str, Any, int]]] = {  # files that exist before a document is run
    "own_corpus.md": {"my.en": ("train", "en", 3000), "my.de": ("train", "de", 3000)},
    "improve_a_translator.md": {"my.en": ("train", "en", 2000), "my.de": ("train", "de", 2000)},
    "text_tasks.md": {
        f"{split}.{name}": (split, column, 400 if split == "train" else 3)
        for split in SPLITS
        for name, column in (
            ("txt", "en"),
            ("text", "en"),
            ("summary", "gist"),
            ("label", "sentiment"),
            ("question", "question"),
            ("answer", "answer"),
        )
    },
    "parse.md": {f"{split}.mrg": (split, "tree", 8) for split in SPLITS},
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Create a folder with a `seqx`, a `python` and a `pytest` that start quickly."""
    folder = tmp_path_factory.mktemp("commands")
    with command_server.start(folder / "bin", shortens=True):
        yield folder


@pytest.fixture
def shell(commands: Path, tmp_path: Path) -> Shell:
    """Return a function that runs a line of bash in the folder of a document."""
    folder = tmp_path / "reader"
    folder.mkdir()

    def run(line: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{commands / 'bin'}:{os.environ['PATH']}",
            "SEQX_CACHE": str(commands / "cache"),
            "HOME": str(commands),
            "COLUMNS": "120",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_listings_run(document: Path, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    for name, (split, column, count) in READER_FILES.get(document.name, {}).items():
        rows = Sample(seed=2, columns=(column,), **{split: count}).rows(split)
        (folder / name).write_text("".join(f"{text}\n" for (text,) in rows), encoding="utf-8")
    for number, listing in enumerate(listings(document)):
        if listing.file is not None:
            (folder / listing.file).write_text(listing.text, encoding="utf-8")
            continue
        match listing.language:
            case "console":
                run = run_commands if listing.runs else check_commands
                run(listing, shell)
            case "python":
                (folder / f"listing{number}.py").write_text(listing.text, encoding="utf-8")
                check_success(listing, shell(f"python listing{number}.py"))
            case "yaml":
                (folder / f"listing{number}.yaml").write_text(
                    f"extends: wmt_en_de\n{listing.text}", encoding="utf-8"
                )
                check_success(listing, shell(f"seqx show listing{number}.yaml"))
            case "text":
                pass
            case other:
                pytest.fail(
                    f"{listing.place}: language '{other}' is not tested; use console, python, yaml or text"
                )


def test_training_of_every_included_task_is_shortened() -> None:
    assert load_plugins().registry.components(seqx.Task).keys() == command_server.SMALL.keys()


def test_own_corpus_commands_neither_lose_nor_leak_pairs(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    rows: list[tuple[str, ...]] = list(Sample(train=3000).rows("train"))
    rows += [(f"{english}\ttab", german) for english, german in rows[:20]] + rows[100:200]
    for column, side in enumerate(("en", "de")):
        (folder / f"my.{side}").write_text("".join(f"{row[column]}\n" for row in rows), encoding="utf-8")
    blocks = [item for item in listings(ROOT / "docs/tutorials/own_corpus.md") if item.language == "console"]
    for command in [command for block in blocks[:2] for command in block.commands()]:
        assert shell(command.text).returncode == 0

    def read(split: str) -> list[tuple[str, ...]]:
        sides = (
            (folder / f"{split}.{side}").read_text(encoding="utf-8").split("\n")[:-1] for side in ("en", "de")
        )
        return list(zip(*sides, strict=True))

    train, dev, test = (read(split) for split in SPLITS)
    assert (len(dev), len(test)) == (500, 500)
    removed = len(rows) - 1000 - len(train)
    assert 10 < removed < 120
    held_out = dev + test
    for held_out_side, train_side in zip(zip(*held_out, strict=True), zip(*train, strict=True), strict=True):
        assert not {*held_out_side} & {*train_side}
    assert {*train, *held_out} <= {*rows}


def run_commands(listing: Listing, shell: Shell) -> None:
    """Run commands; compare their exit codes and outputs with the document."""
    *before, last = listing.commands()
    for command in [*before, last]:
        done = shell(command.text)
        code = listing.exit_code if command is last else 0
        assert done.returncode == code, f"{listing.place}: {command.text}\n{done.stdout}"
        if listing.compared:
            line = first_missing_line(command.output, done.stdout)
            assert line is None, (
                f"{listing.place}: {command.text}\nnot printed: {line}\nprinted:\n{done.stdout}"
            )


def check_commands(listing: Listing, shell: Shell) -> None:
    """Check commands that take too long to run: their recipes are valid, and commands and targets exist."""
    for command in listing.commands():
        for line in quick_checks(command):
            done = shell(line)
            assert done.returncode == 0, f"{listing.place}: {line}\n{done.stdout}"


def quick_checks(command: Command) -> list[str]:
    """Return quick commands that fail if the command is wrong."""
    words = shlex.split(command.text.replace("\\\n", " "), comments=True)
    if words[:2] == ["seqx", "run"]:
        return [shlex.join(["seqx", "show", *without_options(words[2:], "--folder", "--device")])]
    if words[0] == "seqx":
        return [shlex.join([*words[:2], "--help"])]
    if words[0] == "make":
        return [shlex.join(["make", "--dry-run", "--directory", str(ROOT), *words[1:]])]
    return []


def without_options(words: list[str], *options: str) -> list[str]:
    """Return the words without some options and their values."""
    kept, skip = [], False
    for word in words:
        if not skip and word not in options:
            kept.append(word)
        skip = word in options
    return kept


def check_success(listing: Listing, done: subprocess.CompletedProcess[str]) -> None:
    """Check the exit code of a process."""
    assert done.returncode == 0, f"{listing.place}:\n{done.stdout}"
