"""Read standard input line by line, so that all lines before the first invalid one are answered."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO, TypeVar

from seqx.errors import UserError
from seqx.interfaces.task import InputError, Request
from seqx.storage.text_lines import read_standard_input

T = TypeVar("T")


class InputLines:
    """The lines of standard input, up to its end or the first invalid line.

    The attribute `error` holds the error about the invalid line. A command raises it after it has answered
    all lines before the invalid one.

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
        self,
        parse: Callable[[str], str | Request],
        pending: deque[tuple[str, Request]],
        group_lines: Callable[[Iterator[str]], Iterator[str]] = iter,
        prepare: Callable[[str], str] | None = None,
    ) -> Iterator[Request]:
        """Yield a request for each input, up to the first one for which `parse` raises a UserError.

        Args:
            parse: converts an input to a text or a request
            pending: each request is appended to it, with the text that `--json` prints as its input
            group_lines: converts the lines to inputs, which may have several; by default each line is one
            prepare: converts the text of each request to the text that is answered; None: no change
        """
        for line in group_lines(iter(self)):
            try:
                parsed = parse(line)
            except UserError as error:
                self.error = error
                return
            request = Request(input=parsed) if isinstance(parsed, str) else parsed
            text = line if isinstance(parsed, str) else request.input
            if prepare is not None:
                request = replace(request, input=prepare(request.input))
            pending.append((text, request))
            yield request

    def until_refused(self, answers: Iterator[T]) -> Iterator[T]:
        """Yield the answers, up to the first input for which the model raises an InputError."""
        number = 0
        try:
            for number, answer in enumerate(answers, 1):  # noqa: B007  used in the handler
                yield answer
        except InputError as error:
            self.error = InputError(f"standard input:{number + 1}: {error}", number)
