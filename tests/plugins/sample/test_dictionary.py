"""The corpus needs more than a dictionary: word-by-word translation in source order has a low BLEU."""

import re
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import sacrebleu
from numpy.typing import NDArray

from seqx_sample.generate import Pair, pairs

Ids = NDArray[np.int64]


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def numbered(sentences: Sequence[list[str]]) -> tuple[dict[str, int], list[list[int]]]:
    ids: dict[str, int] = {}
    return ids, [[ids.setdefault(word, len(ids)) for word in sentence] for sentence in sentences]


def aligned(train: Sequence[Pair], rounds: int) -> dict[str, str]:
    """Return each word's most probable translation by IBM model 1 (Brown et al. 1993), `rounds` of EM."""
    sources, source_ids = numbered([["", *tokens(pair.english)] for pair in train])
    targets, target_ids = numbered([tokens(pair.german) for pair in train])
    links: list[tuple[int, int, int]] = []
    positions = 0
    for source, target in zip(source_ids, target_ids, strict=True):
        links += [(s, t, positions + position) for position, t in enumerate(target) for s in source]
        positions += len(target)
    source, target, position = np.array(links).T
    entries, link_entry = np.unique(source * len(targets) + target, return_inverse=True)
    entry_source = entries // len(targets)
    probability = np.ones(len(entries))
    for _ in range(rounds):
        share = probability[link_entry]
        share /= np.bincount(position, share)[position]
        counts = np.bincount(link_entry, share)
        probability = counts / np.bincount(entry_source, counts)[entry_source]
    words, german = list(sources), list(targets)
    best: dict[str, str] = {}
    for entry in np.argsort(probability, kind="stable"):
        best[words[entry_source[entry]]] = german[entries[entry] % len(targets)]
    return best


def bleu(dictionary: dict[str, str], test: Sequence[Pair]) -> float:
    outputs = []
    for pair in test:
        text = " ".join(dictionary.get(word, word) for word in tokens(pair.english))
        text = re.sub(r" ([,.?])", r"\1", text)
        outputs.append(text[:1].upper() + text[1:])
    return float(sacrebleu.corpus_bleu(outputs, [[pair.german for pair in test]]).score)


@pytest.fixture(scope="module")
def sample() -> list[Pair]:
    return list(islice(pairs(1), 5000))


def test_dictionary_lookup_does_not_reach_a_high_bleu(sample: list[Pair]) -> None:
    train = [pair for pair in sample if pair.split == "train"][:2000]
    test = [pair for pair in sample if pair.split == "test"]
    assert len(test) > 200
    dictionary = aligned(train, rounds=6)
    assert dictionary["dog"] == "Hund"
    assert dictionary["because"] == "weil"
    score = bleu(dictionary, test)
    assert 10 < score < 25  # 40 is the limit; below 10 the dictionary itself would be at fault


def test_dictionary_baseline_can_reach_a_score_of_100(sample: list[Pair]) -> None:
    """Check the previous test: if the target is the English text in capitals, the dictionary is perfect."""
    loud = [pair._replace(german=pair.english.upper()) for pair in sample[:2000]]
    assert bleu(aligned(loud, rounds=6), loud[:500]) > 95
