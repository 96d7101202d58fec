"""The command `seqx tag`."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Literal

import click

import seqx
from seqx_tagging.conll import Conll, WordFinder, column_of
from seqx_tagging.task import Tagging


@click.command(epilog="Example: seqx tag --columns runs/tagging-sample/model < sentences.txt")
@click.option("--columns", is_flag=True, help="Write one word per line with its tag, as in CoNLL files.")
@click.option(
    "--input-format",
    type=click.Choice(["lines", "conll"]),
    default="lines",
    show_default=True,
    help="lines: one sentence per line; conll: one word per line; its tag becomes a new last column.",
)
@click.option(
    "--words", metavar="N", type=int, help="Column of the words in CoNLL input, counted from 0.  [default: 0]"
)
@seqx.stdin_command
def tag(
    answer: seqx.StdinCommand, *, columns: bool, input_format: Literal["lines", "conll"], words: int | None
) -> None:
    """Tag sentences from standard input, one per line; write the tags of one sentence per line.

    Words are separated by spaces, as in the training text. With --columns, each word is written on a line
    with its tag, separated by a tab, and an empty line ends a sentence. Several MODELs form an ensemble that
    averages their probabilities. An empty line is answered with an empty line.

    With --input-format conll, input has one word per line, and an empty line after each sentence. All lines
    are written, and each word gets its tag as a further column. Lines that the corpus of the model defines as
    comments get no tag.

    With --json, each input is answered with one object: input, output, score and logprob, the
    log-probability of all tags. Sentences that are too long for the model are tagged in parts; standard error
    says how many.
    """
    if input_format == "lines" and words is not None:
        raise click.UsageError("--words needs --input-format conll; add it, or leave --words out")
    if input_format == "lines" and not columns:
        answer(task=Tagging)
        return
    option = "--columns" if input_format == "lines" else "--input-format conll"
    if answer.as_json or answer.nbest is not None:
        raise click.UsageError(f"{option} cannot be combined with --json or --nbest; leave one of them out")
    if input_format == "lines":
        texts = _Texts()
        answer(parse=texts.parse, format_answer=texts.format, task=Tagging, one_line=False)
        return
    sentences = _ConllSentences(words or 0)
    answer(
        parse=sentences.parse,
        format_answer=sentences.format,
        task=Tagging,
        one_line=False,
        group_lines=sentences.group,
        use_task=sentences.use_task,
    )
    for line in sentences.rest:
        click.echo(line)


class _Texts:
    """Sentences of one line, which are written as one line per word."""

    def __init__(self) -> None:
        self._sentences = deque[list[str]]()

    def parse(self, line: str) -> str:
        """Return the line, and remember its words."""
        if line.split():
            self._sentences.append(line.split())
        return line

    def format(self, tags: str) -> str:
        """Return a line with word and tag for each word of the next sentence."""
        pairs = zip(self._sentences.popleft(), tags.split(" "), strict=True)
        return "".join(f"{word}\t{tag}\n" for word, tag in pairs)


class _ConllSentences:
    """Sentences in columns, one word per line, to which tags are added as the last column.

    Args:
        words: the column of the words, from 0
    """

    def __init__(self, words: int) -> None:
        self.rest: list[str] = []
        """The lines after the last sentence."""
        self._words = words
        self._number = 0  # of lines that were parsed
        self._has_word = list[bool]()  # for each line of the sentence that `group` yielded last
        self._sentences = deque[tuple[list[str], list[bool]]]()
        self._find_words = WordFinder(Conll.comment)

    def use_task(self, task: Tagging) -> None:
        """Find the same comments as the corpus of the task."""
        if isinstance(task.corpus, Conll):
            self._find_words = WordFinder(task.corpus.comment)

    def group(self, lines: Iterator[str]) -> Iterator[str]:
        """Yield the lines of each sentence, and those without words before it, as one text."""
        sentence = list[str]()
        for line in chain(lines, [None]):
            if line is not None and line.strip():
                sentence.append(line)
                self.rest.append(line)
                continue
            has_word = self._find_words(sentence)
            if any(has_word):
                self._has_word = [False] * (len(self.rest) - len(sentence)) + has_word
                yield "\n".join(self.rest)
                self.rest = []
            sentence = []
            if line is not None:
                self.rest.append(line)

    def parse(self, text: str) -> str:
        """Return the words of a sentence, and remember its lines."""
        sentence, words = text.split("\n"), list[str]()
        for line, has_word in zip(sentence, self._has_word, strict=True):
            self._number += 1
            if has_word:
                location = f"standard input:{self._number}"
                words.append(column_of(line, self._words, location, "for the word", "--words"))
        self._sentences.append((sentence, self._has_word))
        return " ".join(words)

    def format(self, tags: str) -> str:
        """Return the lines of the next sentence with tags."""
        remaining = iter(tags.split(" "))
        return "\n".join(
            _with_column(line, next(remaining)) if has_word else line
            for line, has_word in zip(*self._sentences.popleft(), strict=True)
        )


def _with_column(line: str, column: str) -> str:
    return f"{line}\t{column}" if "\t" in line else f"{line.rstrip()} {column}"
