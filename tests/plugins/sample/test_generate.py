"""The stream of pairs: its variety, its determinism, and its disjoint splits."""

import re
import time
from collections import Counter, defaultdict
from hashlib import sha256
from itertools import islice

import nltk

from seqx_sample.choose_sentences import sentence
from seqx_sample.derivation import skeleton, words
from seqx_sample.draw import Draw
from seqx_sample.generate import Pair, pairs, split_of, take
from seqx_sample.phrase_tree import detokenize, parse

from .vocabulary import both

FIRST_THOUSAND = "35a7b5c8deb3ba3f07ecbbca1c7836cf18c5110b05e60c5962c10df4d68f8798"


def test_sample_is_the_same_on_every_machine(stream: list[Pair]) -> None:
    text = "\n".join(f"{pair.english}\t{pair.german}\t{pair.tree}\t{pair.split}" for pair in stream[:1000])
    assert sha256(text.encode()).hexdigest() == FIRST_THOUSAND


def test_sample_depends_on_the_seed(stream: list[Pair]) -> None:
    assert next(pairs(2)).english != stream[0].english


def test_sample_has_enough_sentences_for_every_split(stream: list[Pair]) -> None:
    count = Counter(pair.split for pair in stream)
    assert count["train"] >= 20_000
    assert count["dev"] >= 500
    assert count["test"] >= 500


def test_sample_has_a_thousand_forms_and_thirty_rules_per_language(stream: list[Pair]) -> None:
    train = [pair for pair in stream if pair.split == "train"]
    english = Counter(word for pair in train for word in re.findall(r"[^\W\d_]+", pair.english.lower()))
    german = Counter(word for pair in train for word in re.findall(r"[^\W\d_]+", pair.german.lower()))
    assert len(english) >= 1000
    assert len(german) >= 1000
    # A rule has both sides, as methods of one class.
    rules = {rule for pair in stream[:2000] for rule in re.findall(r"([A-Z]\w+)\(", skeleton(pair.sentence))}
    assert len(rules) >= 30
    lemmas = Counter(lemma for pair in train for lemma in words(pair.sentence))
    rare = [lemma for lemma, count in lemmas.items() if count < 20]
    assert len(rare) < 0.05 * len(lemmas), rare


def test_sample_sentence_lengths(stream: list[Pair]) -> None:
    lengths = [len(pair.english.split()) for pair in stream]
    assert min(lengths) >= 5
    assert max(lengths) <= 16
    assert 8 <= sum(lengths) / len(lengths) <= 10


def test_sample_trees_contain_the_english_tokens(stream: list[Pair]) -> None:
    for pair in stream[:3000]:
        tree = nltk.Tree.fromstring(str(pair.tree))
        assert detokenize(tree.leaves()) == pair.english
        assert tree.label() == "TOP"
        assert len(tree) == 1
        assert parse(str(pair.tree)) == pair.tree
        assert all(len(each) == 1 for each in tree.subtrees(lambda below: isinstance(below[0], str)))


def test_sample_splits_have_no_common_bag_of_words(stream: list[Pair]) -> None:
    splits = defaultdict(set)
    for pair in stream:
        lemmas = tuple(sorted(words(pair.sentence)))
        for key in (
            ("en", pair.english),
            ("de", pair.german),
            (skeleton(pair.sentence), lemmas),
            ("words", lemmas),
        ):
            splits[key].add(pair.split)
    assert all(len(each) == 1 for each in splits.values())


def test_sample_has_no_repeated_sentence(stream: list[Pair]) -> None:
    assert len({pair.english for pair in stream}) == len({pair.german for pair in stream}) == len(stream)


def test_sample_split_depends_on_lemmas_only() -> None:
    draw = Draw(3)
    by_words = defaultdict(set)
    for _ in range(3000):
        derivation = sentence(draw)
        by_words[tuple(sorted(words(derivation)))].add(split_of(derivation))
    assert sum(len(each) for each in by_words.values()) == len(by_words)


def test_english_sentence_determines_the_german_one() -> None:
    """Almost every English sentence has a single translation, so that a model can be perfect."""
    draw = Draw(4)
    translations = defaultdict(set)
    for _ in range(6000):
        english, german = both(sentence(draw))
        translations[english].add(german)
    assert sum(len(each) > 1 for each in translations.values()) <= 0.001 * len(translations)


def test_sample_take_returns_a_prefix(stream: list[Pair]) -> None:
    assert [pair.english for pair in take(1, "test", 20)] == [
        pair.english for pair in stream if pair.split == "test"
    ][:20]


def test_sample_text_is_detokenized(stream: list[Pair]) -> None:
    for pair in stream:
        for text in pair.english, pair.german:
            assert text[0].isupper()
            assert re.search(r"\w[.?]$", text)
            assert not re.search(r" [,.?]|,[,.?]|  ", text)
        assert not re.search(r", (und|oder) \w+[.?]", pair.german)


def test_sample_generation_is_fast() -> None:
    start = time.process_time()
    assert sum(1 for _ in islice(pairs(5), 2000)) == 2000
    assert time.process_time() - start < 5  # 0.4 s on an idle core
