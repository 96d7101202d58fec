"""Handle errors of writing to standard output and standard error, so that a command still does its work.

Writing fails if the reader of a pipe has exited, the disk is full, or a descriptor is closed.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, TextIO, cast

from seqx.errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ReaderGoneError(BrokenPipeError):
    """The reader of the pipe has exited. Commands end without a message."""


class WriteErrors:
    """A handler for write errors of an output stream. Its text and binary streams have the same handler.

    Args:
        name: the name of the output stream in messages
        deferred: true: store the first error in `first`, and raise none
    """

    def __init__(self, name: str, *, deferred: bool) -> None:
        self.name = name
        self.deferred = deferred
        self.first: OSError | None = None

    def handle(self, error: OSError) -> None:
        """Store or raise an error, see `deferred`."""
        if self.deferred:
            self.first = self.first or error
        else:
            self.raise_error(error)

    def raise_error(self, error: OSError) -> None:
        """Raise an error with the name of the output and advice.

        Raises:
            ReaderGoneError: the reader of the pipe has exited
            UserError: the output cannot be written for another reason
        """
        if error.errno == errno.EPIPE:
            raise ReaderGoneError(*error.args) from None
        advice = "free disk space" if error.errno in _DISK_FULL else "redirect it to another file"
        raise UserError(f"{self.name}: {error.strerror or error}; {advice}") from None


class Output:
    """An output stream that passes its write errors to a handler.

    Args:
        stream: the text or binary stream to write to
        errors: the handler
    """

    def __init__(self, stream: IO[Any], errors: WriteErrors) -> None:
        self._stream = stream
        self.write_errors = errors

    def write(self, text: Any) -> int:
        """Write text or bytes; characters that the encoding of the stream lacks are written as escapes."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except OSError as error:
            self.write_errors.handle(error)
            return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self.write_errors.handle(error)

    @property
    def buffer(self) -> "Output":
        """The binary stream below a text stream."""
        return Output(cast("TextIO", self._stream).buffer, self.write_errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def checked_streams() -> Iterator[None]:
    """Ignore write errors of standard error in the block; raise those of standard output with a message.

    Text that cannot be written is dropped at the end of the block. Else the interpreter would try again.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as devnull:  # noqa: PTH123  os.devnull is a string
        if sys.stdout is not None:
            sys.stdout = cast("TextIO", Output(sys.stdout, WriteErrors("standard output", deferred=False)))
        error = devnull if sys.stderr is None else sys.stderr
        sys.stderr = cast("TextIO", Output(error, WriteErrors("standard error", deferred=True)))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for stream in before:
                _flush_or_drop(stream)


@contextlib.contextmanager
def defer_write_errors() -> Iterator[None]:
    """Raise a write error of standard output only at the end of the block, so that the work is finished.

    Raise nothing if the reader of the pipe has exited.

    Raises:
        UserError: at the end of the block, if standard output could not be written
    """
    errors = getattr(sys.stdout, "write_errors", None)
    if not isinstance(errors, WriteErrors):
        yield
        return
    errors.deferred = True
    try:
        yield
        sys.stdout.flush()
    finally:
        errors.deferred = errors.first is not None  # else writing the buffered text would raise again
    if errors.first is not None and errors.first.errno != errno.EPIPE:
        errors.raise_error(errors.first)


def _open_closed_descriptors() -> None:
    """Open /dev/null for closed standard descriptors, so that no other file gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _flush_or_drop(stream: TextIO | None) -> None:
    """Write the buffered text, or drop it if that fails."""
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except OSError:
        assert stream is not None
        with contextlib.suppress(OSError):  # the stream has no descriptor
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)
