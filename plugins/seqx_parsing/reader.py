"""Reading trees in brackets, as the Penn Treebank and its successors write them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import seqx
from seqx_parsing.tree import DEEPEST, Leaf, Tree

SPACE = r"[ \t\n\v\f\r]"
TEXT = r"[^() \t\n\v\f\r]*"
"""Any number of characters except brackets and ASCII white space; U+00A0 is allowed."""

WORD = TEXT.removesuffix("*") + "+"
"""The same, not empty."""

_TOKEN = re.compile(rf"[()]|{WORD}")
_MARKUP = re.compile(rf"{SPACE}*(?:<[^<>]*>{SPACE}*)+")  # as <S ID=1>, </S>
_REMARKS = ("*x*", "%%")  # the beginnings of other lines: headers of Treebank-2, comments of NEGRA


def read(lines: Iterable[str], source: str | Path) -> Iterator[Tree]:
    """The trees of a text, one after the other, however they are laid out over its lines.

    The outermost bracket may lack a label, as in the Penn Treebank; it becomes "TOP". Between
    trees, markup (`<S ID=1>`, `<DATE> 1996 </DATE>`) and lines that begin with `*x*` or `%%` are ignored.

    Args:
        lines: of the text, read as far as needed
        source: what the text is called in messages

    Raises:
        UserError: with file and line, for what is no tree
    """
    return (tree for _, tree in located(lines, source))


def located(lines: Iterable[str], source: str | Path) -> Iterator[tuple[int, Tree]]:
    """Yield the trees of `read`, each with the number of the line in which it begins."""
    stack: list[_Bracket] = []
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            text = line if stack else _without_remarks(line)
            for found in _TOKEN.finditer(text):
                if not stack and _MARKUP.fullmatch(text, found.start()):
                    break
                match token := found[0]:
                    case "(":
                        _open(stack, number)
                    case ")":
                        begun = stack[0].line if stack else number
                        tree = _close(stack)
                        if tree is not None:
                            yield begun, tree
                    case _:
                        _say(stack, token)
    except _Fault as fault:
        raise seqx.UserError(f"{source}:{number}: {fault}") from None
    if stack:
        begun = stack[0].line
        raise seqx.UserError(
            f"{source}:{number}: the text ends inside of the tree that begins in line {begun}"
        )


@dataclass(slots=True)
class _Bracket:
    """One that is open, and what it has so far."""

    line: int
    label: str = ""
    word: str = ""
    children: list[Tree | Leaf] = field(default_factory=list)


class _Fault(Exception):  # noqa: N818  it becomes an error where its place is known
    """What makes a text no tree."""


def _without_remarks(line: str) -> str:
    """Return a line that begins outside of brackets without its markup and remarks."""
    text = line.strip(" \t\n\v\f\r")
    if text.startswith(_REMARKS):
        return ""
    markup = _MARKUP.match(text)
    if markup is None:
        return line
    rest = text[markup.end() :]
    if rest.startswith("("):
        return rest
    return "" if text.endswith(">") else line


def _open(stack: list[_Bracket], number: int) -> None:
    if len(stack) == DEEPEST:
        raise _Fault(f"more than {DEEPEST} brackets are open at once, which no sentence needs")
    if stack and stack[-1].word:
        top = stack[-1]
        raise _Fault(f"a bracket opens behind the word of ({top.label} {top.word}; close that first")
    stack.append(_Bracket(number))


def _say(stack: list[_Bracket], token: str) -> None:
    """Take a label or a word."""
    if not stack:
        raise _Fault(f"{token!r} stands outside of brackets")
    top = stack[-1]
    if top.children:
        raise _Fault(f"the word {token!r} stands beside brackets; give it a tag, as (NN {token})")
    if top.word:
        raise _Fault(f"the bracket ({top.label} {top.word} has a second word, {token!r}; a leaf has one")
    if top.label:
        top.word = token
    else:
        top.label = token


def _close(stack: list[_Bracket]) -> Tree | None:
    """Finish a bracket; the tree, if it was the outermost."""
    if not stack:
        raise _Fault("a closing bracket without an opening one")
    top = stack.pop()
    if not (top.word or top.children):
        raise _Fault(f"there is nothing in the bracket ({top.label})")
    if not (top.label or not stack):
        raise _Fault("a bracket without a label; only the outermost may lack it")
    closed = Leaf(top.label, top.word) if top.word else Tree(top.label or "TOP", tuple(top.children))
    if stack:
        stack[-1].children.append(closed)
        return None
    if isinstance(closed, Leaf):
        raise _Fault(f"{closed} is a word and no tree; write (TOP {closed})")
    return closed
