"""Outputs that cannot be written are reported at most once, and never change how a command ends."""

# ruff: noqa: T201, PT012  printing is what is tested

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from seqx.cli import Verbs, main
from seqx.errors import UserError
from seqx.runtime.printing import Channel, Output, ReaderGoneError, checked, forgiving

pytestmark = pytest.mark.promise("output-errors-keep-exit-code")


class Failing(io.RawIOBase):
    """A file that accepts so many bytes, and then fails."""

    def __init__(self, number: int, room: int = 0) -> None:
        self.number, self.room, self.taken = number, room, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(self.taken) + len(data) > self.room:
            raise OSError(self.number, os.strerror(self.number))
        self.taken += bytes(data)
        return len(data)


def failing(number: int, room: int = 0) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BufferedWriter(Failing(number, room)), encoding="utf-8", write_through=True)
    stream.close = lambda: None  # type: ignore[method-assign]  # else it fails once more when it is collected
    return stream


FAILURES = [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT, errno.EBADF]


@pytest.mark.parametrize("number", FAILURES)
def test_standard_error_may_fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(sys, "stderr", failing(number))
    with checked():
        print("news", file=sys.stderr, flush=True)
        click.echo("news", err=True)
        click.echo(b"news", err=True)
        sys.stderr.writelines(["more\n", "news\n"])
        print("news " * 10_000, file=sys.stderr)


def test_text_before_a_failure_reaches_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = failing(errno.ENOSPC, room=5)
    monkeypatch.setattr(sys, "stderr", stream)
    with checked():
        click.echo("news", err=True)
        click.echo("more", err=True)
    raw = stream.buffer.raw  # type: ignore[attr-defined]
    assert raw.taken == b"news\n"


def test_a_closed_standard_error_is_no_other_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with checked():
        print("news", file=sys.stderr)  # with None it would go to standard output
        assert not sys.stderr.isatty()
    assert capsys.readouterr().out == ""
    assert sys.stderr is None


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "standard output: No space left on device; make room for it"),
        (errno.EDQUOT, "standard output: Disk quota exceeded; make room for it"),
        (errno.EFBIG, "standard output: File too large; make room for it"),
        (errno.EIO, "standard output: Input/output error; write it to another place"),
    ],
)
@pytest.mark.parametrize("write", [click.echo, lambda text: click.echo(text.encode())])
def test_a_failure_of_standard_output_is_reported(
    monkeypatch: pytest.MonkeyPatch, number: int, told: str, write: Callable[[str], None]
) -> None:
    monkeypatch.setattr(sys, "stdout", failing(number))
    with checked(), pytest.raises(UserError) as caught:
        write("result")
    assert str(caught.value) == told


def test_a_reader_that_is_gone_needs_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", failing(errno.EPIPE))
    with checked(), pytest.raises(ReaderGoneError):
        click.echo("result")
    with checked(), forgiving():  # the work matters more than its output
        click.echo("result")


def test_a_full_disk_is_reported_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", failing(errno.ENOSPC))
    done = False
    with (
        checked(),
        pytest.raises(UserError, match=r"^standard output: No space left on device; make room for it$"),
        forgiving(),
    ):
        print("result")
        print("more results", flush=True)
        done = True
    assert done
    with checked(), pytest.raises(KeyboardInterrupt), forgiving():  # the interrupt matters more
        print("result")
        raise KeyboardInterrupt


def test_an_output_passes_other_attributes_on() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    output = Output(stream, Channel("standard output", forgiving=False))
    assert (output.encoding, output.isatty(), output.write("é")) == ("utf-8", False, 1)
    output.flush()
    assert output.buffer.write(b"x") == 1
    assert output.buffer.getvalue() == b"\xc3\xa9x"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["check", "--help"], ["plugins"]])
def test_every_command_reports_a_full_output(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    error = io.StringIO()
    monkeypatch.setattr(sys, "stdout", failing(errno.ENOSPC))
    monkeypatch.setattr(sys, "stderr", error)
    with pytest.raises(SystemExit) as end:
        main(arguments, prog_name="seqx")
    assert end.value.code == 2
    assert error.getvalue() == "standard output: No space left on device; make room for it\n"
    monkeypatch.setattr(sys, "stderr", failing(errno.ENOSPC))
    with pytest.raises(SystemExit) as end:
        main(arguments, prog_name="seqx")
    assert end.value.code == 2


def test_a_broken_pipe_that_is_not_standard_output_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    command = click.Command("broken", callback=broken)
    monkeypatch.setattr(Verbs, "get_command", lambda self, ctx, name: command)
    with pytest.raises(SystemExit) as end:
        main(["check"], prog_name="seqx")
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(
        "a process that seqx writes to has ended ([Errno 32] Broken pipe)"
    )


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [
        (">/dev/full", 2, "standard output: No space left on device; make room for it\n"),
        (">/dev/full 2>/dev/full", 2, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full nonsense", 2, ""),
        ("0<&- 1>&- 2>&-", 0, ""),
        ("2>&- nonsense", 2, ""),
    ],
)
def test_exit_codes_of_processes_with_broken_outputs(redirected: str, code: int, told: str) -> None:
    """The interpreter flushes its buffers at exit, and exits with 120 if that fails."""
    option = "" if "nonsense" in redirected else "--version"
    command = f"{sys.executable} -m seqx {option} {redirected}"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, told)


def test_closed_descriptors_are_no_files_that_are_opened_later() -> None:
    script = "import os; from seqx.runtime.printing import checked; checked().__enter__(); "
    script += "os._exit(os.open(os.devnull, os.O_RDONLY))"
    command = f'{sys.executable} -c "{script}" 0<&- 1>&- 2>&-'
    assert subprocess.run(command, shell=True, check=False).returncode > 2
