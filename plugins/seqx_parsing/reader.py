"""Read bracketed trees in the format of the Penn Treebank and its successors."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import seqx
from seqx_parsing.tree import MAX_DEPTH, Leaf, Tree

SPACE = r"[ \t\n\v\f\r]"
TEXT = r"[^() \t\n\v\f\r]*"
"""Regular expression of any number of characters except brackets and ASCII white space; U+00A0 is allowed."""

WORD = TEXT.removesuffix("*") + "+"
"""Regular expression of one or more such characters."""

# A token is a word with its tag, such as (NN dog), an opening bracket with or without its label, a closing
# bracket or a word.
_TOKEN = re.compile(rf"\({SPACE}*({WORD})(?:{SPACE}+({WORD}){SPACE}*\))?|[()]|{WORD}")
_MARKUP = re.compile(rf"{SPACE}*(?:<[^<>]*>{SPACE}*)+")  # such as <S ID=1> or </S>
_IGNORED = ("*x*", "%%")  # lines between trees: headers of Treebank-2, comments of NEGRA


def read(lines: Iterable[str], source: str | Path) -> Iterator[Tree]:
    """Yield the trees of a text one by one; a line break counts as a space.

    If the outermost bracket lacks a label, as in the Penn Treebank, its label becomes TOP. Between trees,
    markup (`<S ID=1>`, `<DATE> 1996 </DATE>`) and lines that begin with `*x*` or `%%` are ignored.

    Args:
        lines: the lines of the text; they are read as needed
        source: the name of the text in messages

    Raises:
        UserError: the text is malformed; the message has the source and the line
    """
    return (tree for _, tree in read_with_lines(lines, source))


def read_with_lines(lines: Iterable[str], source: str | Path) -> Iterator[tuple[int, Tree]]:
    """Yield the trees as `read` does, each with the number of the line on which it begins."""
    stack: list[_Bracket] = []
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            text = line if stack else _without_markup(line)
            for token_match in _TOKEN.finditer(text):
                if not stack and _is_markup(text, token_match):
                    break
                part, label, word = token_match.group(0, 1, 2)
                if part[0] == "(":
                    _check_open(stack)
                    if word:
                        _add_leaf(stack, Leaf(label, word))
                    else:
                        stack.append(_Bracket(number, label or ""))
                elif part == ")":
                    first_line = stack[0].line if stack else number
                    tree = _close(stack)
                    if tree is not None:
                        yield first_line, tree
                else:
                    _add_token(stack, part)
    except _TreeError as error:
        raise seqx.UserError(f"{source}:{number}: {error}") from None
    if stack:
        first_line = stack[0].line
        raise seqx.UserError(
            f"{source}:{number}: the text ends inside the tree that begins on line {first_line}; "
            "add its closing brackets"
        )


@dataclass(slots=True)
class _Bracket:
    """An open bracket and the content that was read so far."""

    line: int
    label: str = ""
    word: str = ""
    children: list[Tree | Leaf] = field(default_factory=list)


class _TreeError(Exception):
    """A tree is malformed. `read_with_lines` turns it into a UserError with source and line."""


def _without_markup(line: str) -> str:
    """Remove the markup of a line outside of trees; return "" if the line has no tree."""
    text = line.strip(" \t\n\v\f\r")
    if text.startswith(_IGNORED):
        return ""
    markup = _MARKUP.match(text)
    if markup is None:
        return line
    rest = text[markup.end() :]
    if rest.startswith("("):
        return rest
    return "" if text.endswith(">") else line


def _is_markup(text: str, token_match: re.Match[str]) -> bool:
    """Return true if only markup follows, outside of all brackets."""
    return _MARKUP.fullmatch(text, token_match.start()) is not None


def _check_open(stack: list[_Bracket]) -> None:
    """Check that a bracket may open here."""
    if len(stack) == MAX_DEPTH:
        raise _TreeError(f"more than {MAX_DEPTH} brackets are open at once; is a closing bracket missing?")
    if stack and stack[-1].word:
        top = stack[-1]
        raise _TreeError(
            f"a bracket opens after the word of ({top.label} {top.word}; close that bracket first"
        )


def _add_leaf(stack: list[_Bracket], leaf: Leaf) -> None:
    """Add a word with its tag to the innermost open bracket."""
    if not stack:
        raise _TreeError(f"{leaf} is a word, not a tree; write (TOP {leaf})")
    stack[-1].children.append(leaf)


def _add_token(stack: list[_Bracket], token: str) -> None:
    """Add a label or a word to the innermost open bracket."""
    if not stack:
        raise _TreeError(f"{token!r} is outside of all brackets; remove it, or put it into a tree")
    top = stack[-1]
    if top.children:
        raise _TreeError(f"the word {token!r} is next to a bracket; give it a tag, as in (NN {token})")
    if top.word:
        raise _TreeError(
            f"the bracket ({top.label} {top.word} has a second word, {token!r}; only one is allowed"
        )
    if top.label:
        top.word = token
    else:
        top.label = token


def with_tags(output: str, gold: str) -> str:
    """Return a tree with the tags of the gold tree if both have the same words."""
    try:
        trees = [tree for text in (output, gold) for tree in read([text], "the answers")]
    except seqx.UserError:
        return output
    if len(trees) != 2:
        return output
    (words, gold_words), leaves = (
        ([[leaf.word for leaf in tree.leaves()] for tree in trees]),
        trees[1].leaves(),
    )
    return str(trees[0].over(leaves)) if words == gold_words else output


def _close(stack: list[_Bracket]) -> Tree | None:
    """Close the innermost bracket; return the tree if this was the outermost bracket, else None."""
    if not stack:
        raise _TreeError("a closing bracket has no opening bracket; remove it")
    top = stack.pop()
    if not (top.word or top.children):
        raise _TreeError(f"the bracket ({top.label}) is empty; write a word into it, or remove it")
    if not (top.label or not stack):
        raise _TreeError(
            "a bracket has no label; write one after it (only the outermost bracket may lack a label)"
        )
    closed = Leaf(top.label, top.word) if top.word else Tree(top.label or "TOP", tuple(top.children))
    if stack:
        stack[-1].children.append(closed)
        return None
    if isinstance(closed, Leaf):
        raise _TreeError(f"{closed} is a word, not a tree; write (TOP {closed})")
    return closed
