"""The words of a text to which its tokens belong."""

from bisect import bisect_right
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate


def token_words(tokens: Sequence[bytes | None], text: str) -> list[int | None]:
    """Return the number of the word of `text` to which each token belongs, from 0.

    Words are separated by white space. The text of the tokens may differ from `text`, for example because a
    normalizer has changed it. Then the characters that both have in common determine the words of tokens.

    Args:
        tokens: the UTF-8 bytes of each token; None: it writes no text, such as EOS
        text: the text

    Returns:
        the number of a word for each token; None if it writes nothing. White space belongs to the next word,
        and a part of a character to the word of the character.
    """
    characters, owners = _characters(tokens)
    words = text.split()
    ends = list(accumulate(map(len, words)))
    positions = _positions(characters, "".join(words))
    found: list[int | None] = [None] * len(tokens)
    for position, of_character in zip(positions, owners, strict=True):
        for token in of_character:
            if found[token] is None and words:
                found[token] = min(bisect_right(ends, position), len(words) - 1)
    for token in range(len(tokens) - 2, -1, -1):
        if found[token] is None and tokens[token]:
            found[token] = found[token + 1]
    return found


def _characters(tokens: Sequence[bytes | None]) -> tuple[str, list[list[int]]]:
    """Return all characters that are not white space, and the tokens that write each of them."""
    data = b"".join(token or b"" for token in tokens)
    owner_of_byte = [i for i, token in enumerate(tokens) for _ in token or b""]
    characters, owners, start = "", list[list[int]](), 0
    for character in data.decode("utf-8", "surrogateescape"):
        end = start + len(character.encode("utf-8", "surrogateescape"))
        if not character.isspace():
            characters += character
            owners.append(sorted({*owner_of_byte[start:end]}))
        start = end
    return characters, owners


def _positions(characters: str, text: str) -> list[int]:
    """Return the position in `text` that corresponds to each character."""
    if characters == text:
        return [*range(len(text))]
    positions = [0] * len(characters)
    for tag, begin, end, text_begin, text_end in SequenceMatcher(
        None, characters, text, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            positions[begin:end] = range(text_begin, text_end)
        else:  # spread over the characters that they replace
            length = text_end - text_begin
            for i in range(begin, end):
                positions[i] = text_begin + (i - begin) * length // (end - begin)
    return positions
