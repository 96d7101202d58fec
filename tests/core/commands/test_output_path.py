"""Options that name a file or a folder to write: none of them creates the parents of a path with a typo."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import pytest

import seqx
from seqx.cli import main as cli
from seqx.commands.output_path import OutputPath

READ = {"--gold", "--hypotheses", "--prefix", "--references", "--source", "--api-key-file", "--domains"}
"""Options that name files to read."""

RUN_FOLDERS = {"run --folder", "sweep --folder"}
"""Options whose default, runs/NAME, has a parent that does not exist yet."""


def _path_parameters(
    command: click.Command, name: str = ""
) -> Iterator[tuple[str, click.Parameter, click.Path]]:
    """Yield each path that a command and its commands name, with the name of its option."""
    for parameter in command.params:
        types = parameter.type.types if isinstance(parameter.type, click.Tuple) else [parameter.type]
        for each in types:
            if isinstance(each, click.Path):
                yield f"{name} {parameter.opts[0]}".strip(), parameter, each
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each_name in command.list_commands(context):
            found = command.get_command(context, each_name)
            assert found is not None
            yield from _path_parameters(found, f"{name} {each_name}".strip())


PATHS = [*_path_parameters(cli)]
WRITTEN = {name: (parameter, kind) for name, parameter, kind in PATHS if isinstance(kind, OutputPath)}


def test_options_that_write_have_one_type() -> None:
    options = {name for name, parameter, _ in PATHS if isinstance(parameter, click.Option)}
    others = {name for name in options if name.split()[-1] not in READ}
    assert others - RUN_FOLDERS == WRITTEN.keys() & options
    assert {"average --out", "export --out", "import --out", "compare --html", "sweep --write"} <= others


@pytest.mark.parametrize("name", WRITTEN)
def test_output_in_a_missing_folder_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parameter, kind = WRITTEN[name]
    option = name.rsplit(maxsplit=1)[-1] if isinstance(parameter, click.Option) else "name"
    with pytest.raises(seqx.UserError) as raised:
        kind.convert("a/b", parameter, None)
    assert str(raised.value) == (f"a/b: the folder a does not exist; create it, or choose another {option}")
    assert kind.convert("b", parameter, None) == Path("b")
    assert not [*tmp_path.iterdir()]
    Path("a").touch()
    with pytest.raises(seqx.UserError, match=f"^a/b: a is not a folder; choose another {option}$"):
        kind.convert("a/b", parameter, None)


def test_empty_path_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="the path is empty"):
        OutputPath().convert("", click.Option(["--out"]), None)


def test_new_output_that_exists_is_refused(tmp_path: Path) -> None:
    kind, option = OutputPath(is_new=True), click.Option(["--out"])
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(seqx.UserError, match="exists already; remove it, or choose another --out"):
            kind.convert(str(path), option, None)


FILES = {name: (parameter, kind) for name, (parameter, kind) in WRITTEN.items() if not kind.dir_okay}
BEGINNINGS = {
    "--sentences": '{"input": "a \\"b", "output": "c", "references": ["c"], "scores": {}}\n',
    "--trace": '{"line": 1, "part": 1, "search": 1, "step": 1, "hypotheses": []}\n',
    "--alignment": "0-0 1-2\n\n0-0\n",
    "--html": '<!DOCTYPE html>\n<head>\n<meta name="generator" content="seqx 0.1.0">\n',
}


OTHERS = (
    "The cat sleeps .\n",
    "\nThe cat sleeps .\n",
    "0-0 1-2\n0-1\nThe cat sleeps .\n",
    "task: {}\n",
    "<!DOCTYPE html>\n<p>mine\n",
    '{"text": "mine"}\n',
    '{"line": "mine"}\n',
    '{"line": 1, "text": "mine"}\n',
    '{"input": "a b", "output": "mine"}\n',
    '{"input": "a b", "output": "mine", "score": -0.5, "logprob": -1.0}\n',  # of `seqx translate --json`
)


@pytest.mark.parametrize("name", FILES)
def test_file_that_the_option_did_not_write_is_not_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parameter, kind = FILES[name]
    option = name.rsplit(maxsplit=1)[-1]
    for text in OTHERS:
        Path("mine").write_text(text)
        with pytest.raises(seqx.UserError) as raised:
            kind.convert("mine", parameter, None)
        assert str(raised.value) == (
            "mine: exists already, and is not a file that this option wrote; remove it, or choose another "
            f"{option}"
        )
        assert Path("mine").read_text() == text
    for text in ("", BEGINNINGS[option]):
        Path("mine").write_text(text)
        assert kind.convert("mine", parameter, None) == Path("mine")


FOLDERS = {
    name: (parameter, kind)
    for name, (parameter, kind) in WRITTEN.items()
    if name.split()[-1] not in BEGINNINGS
}
NAMES_ITS_FILES = {"new component --folder"}
"""Options whose command refuses single files that exist: further components may be written to the folder."""


@pytest.mark.parametrize("name", sorted(FOLDERS.keys() - NAMES_ITS_FILES))
def test_folder_with_files_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parameter, kind = FOLDERS[name]
    Path("mine/notes").mkdir(parents=True)
    with pytest.raises(
        seqx.UserError, match=r"^mine: (exists|has files) already.*; remove (it|them), or choose"
    ):
        kind.convert("mine", parameter, None)


def test_empty_folder_may_have_hidden_files(tmp_path: Path) -> None:
    kind, option = OutputPath(is_empty=True), click.Option(["--out"])
    (tmp_path / ".git").mkdir()
    assert kind.convert(str(tmp_path), option, None) == tmp_path
    for each in ("b", "a"):
        (tmp_path / each).touch()
    with pytest.raises(seqx.UserError) as raised:
        kind.convert(str(tmp_path), option, None)
    assert str(raised.value) == f"{tmp_path}: has files already (a); remove them, or choose another --out"


def forked_code(job: Callable[[], None], *, as_nobody: bool = False) -> int:
    """Run a job in another process, on request without the privileges of root; return its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            if as_nobody and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            job()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", WRITTEN)
def test_output_in_a_folder_that_cannot_be_written_is_refused(name: str) -> None:
    """All users may read the folder, which pytest's folders do not allow."""
    parameter, kind = WRITTEN[name]

    def job(path: str, reason: str) -> None:
        with pytest.raises(seqx.UserError) as raised:
            kind.convert(path, parameter, None)
        assert str(raised.value).startswith(f"{path}: cannot be written: {reason}")

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        denied = partial(job, f"{folder}/new", "Permission denied; choose another ")
        assert forked_code(denied, as_nobody=True) == 0
        assert not [*Path(folder).iterdir()]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if not kind.dir_okay:
            Path(folder, "link").symlink_to(Path(folder, "missing", "file"))
            job(f"{folder}/link", "No such file or directory; choose another ")
        job(f"{folder}/{'n' * 250}", "File name too long; choose a shorter name")


@pytest.mark.parametrize("name", FILES)
def test_devices_are_files_to_write(name: str, tmp_path: Path) -> None:
    parameter, kind = FILES[name]
    os.mkfifo(tmp_path / "pipe")
    for path in (os.devnull, str(tmp_path / "pipe")):
        assert kind.convert(path, parameter, None) == Path(path)
    with (tmp_path / "log").open("w") as log:

        def job() -> None:
            os.dup2(log.fileno(), 1)
            os.write(1, b"printed before\n")
            assert kind.convert("/dev/stdout", parameter, None) == Path("/dev/stdout")

        assert forked_code(job) == 0


LONG = {
    "--alignment": ["0-0 1-11\n" * 500, "0-0 1-11 12-2\n\n" * 300, "0-0 11-12 " * 450 + "1-1\n"],
    "--sentences": [
        json.dumps({"input": "a " * length, "output": 'b "' * other, "references": ["c"], "scores": {}})
        for length, other in ((3000, 1), (100, 3000), (10, 10))
    ],
}


@pytest.mark.parametrize("name", [name for name in FILES if name.split()[-1] in LONG])
@pytest.mark.parametrize("shift", range(8))
def test_file_of_the_option_is_recognised_if_its_beginning_ends_in_a_line(
    name: str, shift: int, tmp_path: Path
) -> None:
    """Only the first 4 KiB are read."""
    parameter, kind = FILES[name]
    option = name.rsplit(maxsplit=1)[-1]
    for text in LONG[option]:
        (tmp_path / "file").write_text("\n" * (shift if option == "--alignment" else 0) + text)
        assert kind.convert(str(tmp_path / "file"), parameter, None) == tmp_path / "file"
