"""Write errors of outputs are reported at most once, and do not change the result of a command."""

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

from seqx.cli import CommandGroup, main
from seqx.errors import UserError
from seqx.runtime.printing import Output, ReaderGoneError, WriteErrors, checked_streams, defer_write_errors

pytestmark = pytest.mark.promise("output-errors-keep-exit-code")


class FailingFile(io.RawIOBase):
    """A file that accepts `capacity` bytes, and then raises an OSError with this number."""

    def __init__(self, number: int, capacity: int = 0) -> None:
        self.number, self.capacity, self.content = number, capacity, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(self.content) + len(data) > self.capacity:
            raise OSError(self.number, os.strerror(self.number))
        self.content += bytes(data)
        return len(data)


def failing_stream(number: int, capacity: int = 0) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(
        io.BufferedWriter(FailingFile(number, capacity)), encoding="utf-8", write_through=True
    )
    stream.close = lambda: None  # type: ignore[method-assign]  # else it fails again when it is garbage collected
    return stream


FAILURES = [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT, errno.EBADF]


@pytest.mark.parametrize("number", FAILURES)
def test_failing_standard_error_is_ignored(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(sys, "stderr", failing_stream(number))
    with checked_streams():
        print("news", file=sys.stderr, flush=True)
        click.echo("news", err=True)
        click.echo(b"news", err=True)
        sys.stderr.writelines(["more\n", "news\n"])
        print("news " * 10_000, file=sys.stderr)


def test_text_before_a_failure_reaches_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = failing_stream(errno.ENOSPC, capacity=5)
    monkeypatch.setattr(sys, "stderr", stream)
    with checked_streams():
        click.echo("news", err=True)
        click.echo("more", err=True)
    raw = stream.buffer.raw  # type: ignore[attr-defined]
    assert raw.content == b"news\n"


def test_closed_standard_error_is_not_replaced_by_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with checked_streams():
        print("news", file=sys.stderr)  # with None it would go to standard output
        assert not sys.stderr.isatty()
    assert capsys.readouterr().out == ""
    assert sys.stderr is None


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "standard output: No space left on device; free disk space"),
        (errno.EDQUOT, "standard output: Disk quota exceeded; free disk space"),
        (errno.EFBIG, "standard output: File too large; free disk space"),
        (errno.EIO, "standard output: Input/output error; redirect it to another file"),
    ],
)
@pytest.mark.parametrize("write", [click.echo, lambda text: click.echo(text.encode())])
def test_failing_standard_output_is_reported(
    monkeypatch: pytest.MonkeyPatch, number: int, message: str, write: Callable[[str], None]
) -> None:
    monkeypatch.setattr(sys, "stdout", failing_stream(number))
    with checked_streams(), pytest.raises(UserError) as caught:
        write("result")
    assert str(caught.value) == message


def test_exited_reader_of_a_pipe_needs_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", failing_stream(errno.EPIPE))
    with checked_streams(), pytest.raises(ReaderGoneError):
        click.echo("result")
    with checked_streams(), defer_write_errors():  # the work is finished all the same
        click.echo("result")


def test_deferred_write_error_is_raised_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", failing_stream(errno.ENOSPC))
    is_done = False
    with (
        checked_streams(),
        pytest.raises(UserError, match=r"^standard output: No space left on device; free disk space$"),
        defer_write_errors(),
    ):
        print("result")
        print("more results", flush=True)
        is_done = True
    assert is_done
    with (
        checked_streams(),
        pytest.raises(KeyboardInterrupt),
        defer_write_errors(),
    ):  # the interrupt takes precedence
        print("result")
        raise KeyboardInterrupt


def test_characters_that_the_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    with checked_streams():
        click.echo("µ = ▁")
    assert stream.buffer.getvalue() == b"\xb5 = \\u2581\n"


def test_output_forwards_other_attributes() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    output = Output(stream, WriteErrors("standard output", deferred=False))
    assert (output.encoding, output.isatty(), output.write("é")) == ("utf-8", False, 1)
    output.flush()
    assert output.buffer.write(b"x") == 1
    assert output.buffer.getvalue() == b"\xc3\xa9x"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["check", "--help"], ["plugins"]])
def test_every_command_reports_a_full_standard_output(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    error = io.StringIO()
    monkeypatch.setattr(sys, "stdout", failing_stream(errno.ENOSPC))
    monkeypatch.setattr(sys, "stderr", error)
    with pytest.raises(SystemExit) as end:
        main(arguments, prog_name="seqx")
    assert end.value.code == 2
    assert error.getvalue() == "standard output: No space left on device; free disk space\n"
    monkeypatch.setattr(sys, "stderr", failing_stream(errno.ENOSPC))
    with pytest.raises(SystemExit) as end:
        main(arguments, prog_name="seqx")
    assert end.value.code == 2


def test_broken_pipe_of_another_process_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    command = click.Command("broken", callback=broken)
    monkeypatch.setattr(CommandGroup, "get_command", lambda self, ctx, name: command)
    with pytest.raises(SystemExit) as end:
        main(["check"], prog_name="seqx")
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(
        "a process that seqx writes to has ended ([Errno 32] Broken pipe)"
    )


@pytest.mark.parametrize(
    ("redirected", "code", "message"),
    [
        (">/dev/full", 2, "standard output: No space left on device; free disk space\n"),
        (">/dev/full 2>/dev/full", 2, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full nonsense", 2, ""),
        ("0<&- 1>&- 2>&-", 0, ""),
        ("2>&- nonsense", 2, ""),
    ],
)
def test_broken_outputs_do_not_change_exit_codes(redirected: str, code: int, message: str) -> None:
    """The interpreter flushes its buffers at exit, and exits with 120 if that fails."""
    option = "" if "nonsense" in redirected else "--version"
    command = f"{sys.executable} -m seqx {option} {redirected}"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, message)


def test_closed_standard_descriptors_are_not_reused_for_files() -> None:
    script = "import os; from seqx.runtime.printing import checked_streams; checked_streams().__enter__(); "
    script += "os._exit(os.open(os.devnull, os.O_RDONLY))"
    command = f'{sys.executable} -c "{script}" 0<&- 1>&- 2>&-'
    assert subprocess.run(command, shell=True, check=False).returncode > 2
