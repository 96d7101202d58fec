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
    """Nobody reads the pipe that an output is written to; that needs no message."""


class Channel:
    """Decide about the failures of one output, that of the text and that of the bytes below it.

    Args:
        name: of the output, for messages
        forgiving: failures are kept in `failure`, and not raised
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
            ReaderGoneError: nobody reads the pipe any longer
            UserError: it cannot be written for another reason
        """
        if error.errno == errno.EPIPE:
            raise ReaderGoneError(*error.args) from None
        advice = "make room for it" if error.errno in _NO_ROOM else "see to that"
        raise UserError(f"{self.name}: {error.strerror or error}; {advice}") from None


class Output:
    """An output stream that hands its failures to a channel; all else is the stream's.

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
        """Write one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Have written what was buffered."""
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
    """In the block, failures of standard error are ignored, and those of standard output have one message.

    What could not be written is given up at the end, and not tried again when the interpreter ends.
    """
    _occupy()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  of the system, and no path
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
    """In the block, a failure of standard output waits until the block has come to its end.

    Nobody is told where the reader of a pipe is gone, which need not care about the end of the block.

    Raises:
        UserError: the block came to its end, and standard output could not be written
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
        channel.forgiving = channel.failure is not None  # what is buffered would fail once more
    if channel.failure is not None and channel.failure.errno != errno.EPIPE:
        channel.tell(channel.failure)


def _occupy() -> None:
    """Take the standard descriptors that are closed, so that no file gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _finish(stream: TextIO | None) -> None:
    """Write what is buffered, or give it up."""
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except OSError:
        assert stream is not None
        with contextlib.suppress(OSError):  # a stream that is no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
