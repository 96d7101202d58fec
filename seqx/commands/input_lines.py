"""Read standard input line by line, and answer all lines before the first invalid one."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

from seqx.errors import UserError
from seqx.inference import InputError
from seqx.interfaces.task import Request
from seqx.storage.text_lines import read_standard_input

T = TypeVar("T")


class InputLines:
    """The lines of standard input, up to its end or the first invalid line.

    The error about an invalid line is kept in `error` instead of being raised, so that all lines before it
    can be answered.

    Args:
        stream: the bytes of standard input
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: UserError | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from read_standard_input(self._stream)
        except UserError as error:
            self.error = error

    def requests(
        self, parse: Callable[[str], str | Request], pending: deque[tuple[str, Request]]
    ) -> Iterator[Request]:
        """Yield a request for each line, up to the first line that `parse` refuses.

        Args:
            parse: makes a text or a request of a line
            pending: gets each request with its text as it is shown to the user
        """
        for line in self:
            try:
                parsed = parse(line)
            except UserError as error:
                self.error = error
                return
            request = Request(text=parsed) if isinstance(parsed, str) else parsed
            pending.append((line if isinstance(parsed, str) else request.text, request))
            yield request

    def until_refused(self, answers: Iterator[T]) -> Iterator[T]:
        """Yield the answers up to the first input that the model refuses."""
        number = 0
        try:
            for number, answer in enumerate(answers, 1):  # noqa: B007  used in the handler
                yield answer
        except InputError as error:
            self.error = InputError(f"standard input:{number + 1}: {error}", number)
