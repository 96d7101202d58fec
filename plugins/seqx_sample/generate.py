"""Generate sentence pairs and assign them to the training, development and test split."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple, get_args

from .choose_sentences import sentence
from .derivation import words
from .draw import Draw
from .phrase_tree import PhraseTree, detokenize
from .sentences import Sentence

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_MIN_WORDS, _MAX_WORDS = 5, 16


class Pair(NamedTuple):
    """A sentence in both languages, with its English tree and its derivation."""

    english: str
    german: str
    tree: PhraseTree
    sentence: Sentence
    split: Split


def split_of(derivation: Sentence) -> Split:
    """Return the split of a derivation, which depends on a hash of its lemmas in alphabetical order.

    Therefore no two splits share a sentence, nor sentences with the same words in other forms or order.
    """
    key = " ".join(sorted(words(derivation)))
    bucket = int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % 20
    return "dev" if bucket == 0 else "test" if bucket == 1 else "train"


def pairs(seed: int) -> Iterator[Pair]:
    """Yield sentence pairs forever; no English and no German sentence is repeated."""
    draw = Draw(seed)
    seen: set[bytes] = set()
    while True:
        derivation = sentence(draw)
        tree = derivation.english()
        english = detokenize(tree.leaves())
        if not _MIN_WORDS <= len(english.split()) <= _MAX_WORDS:
            continue
        german = detokenize(derivation.german())
        keys = {blake2b(text.encode(), digest_size=8).digest() for text in (f"en {english}", f"de {german}")}
        if keys & seen:
            continue
        seen |= keys
        yield Pair(english, german, tree, derivation, split_of(derivation))


def take(seed: int, split: Split, count: int) -> Iterator[Pair]:
    """Yield the first `count` pairs of a split."""
    if count == 0:
        return
    for pair in pairs(seed):
        if pair.split == split:
            yield pair
            count -= 1
            if count == 0:
                return
