"""Standard output and standard error, whose failures never replace the outcome of a command.

The reader of a pipe may be gone, the disk of a log may be full, a descriptor may be closed.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, TextIO, cast

from seqx.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ReaderGoneError(BrokenPipeError):
    """The reader of a pipe is gone; this needs no message."""


class Channel:
    """Handles the failures of one output, for its stream of text and the stream of bytes below.

    Args:
        name: of the output, for messages
        forgiving: keep failures in `failure` instead of raising them
    """

    def __init__(self, name: str, *, forgiving: bool) -> None:
        self.name = name
        self.forgiving = forgiving
        self.failure: OSError | None = None

    def failed(self, error: OSError) -> None:
        """Keep an error of writing, or raise what `tell` makes of it."""
        if self.forgiving:
            self.failure = self.failure or error
        else:
            self.tell(error)

    def tell(self, error: OSError) -> None:
        """Raise an error of writing, with its place and what to do.

        Raises:
            ReaderGoneError: the reader of the pipe is gone
            UserError: any other reason
        """
        if error.errno == errno.EPIPE:
            raise ReaderGoneError(*error.args) from None
        advice = "make room for it" if error.errno in _NO_ROOM else "write it to another place"
        raise UserError(f"{self.name}: {error.strerror or error}; {advice}") from None


class Output:
    """A wrapper of an output stream that passes failures to a channel.

    Args:
        stream: of text or of bytes
        channel: decides about its failures
    """

    def __init__(self, stream: IO[Any], channel: Channel) -> None:
        self._stream = stream
        self.channel = channel

    def write(self, text: Any) -> int:
        """Write text or bytes."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self.channel.failed(error)
            return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write the buffered text."""
        try:
            self._stream.flush()
        except OSError as error:
            self.channel.failed(error)

    @property
    def buffer(self) -> "Output":
        """The stream of bytes below one of text."""
        return Output(cast("TextIO", self._stream).buffer, self.channel)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Ignore failures of standard error in the block; raise one error for those of standard output.

    Text that could not be written is dropped at the end, so that the interpreter does not try again.
    """
    _occupy()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  os.devnull is a string
        if sys.stdout is not None:
            sys.stdout = cast("TextIO", Output(sys.stdout, Channel("standard output", forgiving=False)))
        error = nowhere if sys.stderr is None else sys.stderr
        sys.stderr = cast("TextIO", Output(error, Channel("standard error", forgiving=True)))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for stream in before:
                _finish(stream)


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Raise a failure of standard output only at the end of the block.

    If the reader of a pipe is gone, nothing is raised.

    Raises:
        UserError: at the end of the block, if standard output could not be written
    """
    channel = getattr(sys.stdout, "channel", None)
    if not isinstance(channel, Channel):
        yield
        return
    channel.forgiving = True
    try:
        yield
        sys.stdout.flush()
    finally:
        channel.forgiving = channel.failure is not None  # buffered text would fail again
    if channel.failure is not None and channel.failure.errno != errno.EPIPE:
        channel.tell(channel.failure)


def _occupy() -> None:
    """Open /dev/null for closed standard descriptors, so that no other file gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _finish(stream: TextIO | None) -> None:
    """Write the buffered text, or drop it."""
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except OSError:
        assert stream is not None
        with contextlib.suppress(OSError):  # the stream has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
