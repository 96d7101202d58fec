"""The SentencePiece tokenizer is lossless and has the special ids of seqx."""

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import seqx
from seqx_text import Marian, SentencePiece

LINES = [
    f"{who} {does} the {what} near {where} ."
    for who in ("A man", "Two girls", "The small dog", "Nobody else", "Your neighbour")
    for does in ("sees", "draws", "follows", "remembers", "has forgotten")
    for what in ("blue boat", "old house", "träge Eule", "quick fox", "wooden chair")
    for where in ("Paris", "the sea", "a bridge", "that market", "Jerez")
]


def train(folder: Path, model: Literal["bpe", "unigram"], **sizes: int) -> SentencePiece:
    tokenizer = SentencePiece(size=sizes.get("size", 315), model=model, coverage=1.0)
    tokenizer.learn(iter(LINES), folder)
    return tokenizer


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SentencePiece:
    return train(tmp_path_factory.mktemp("model"), request.param)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WORDS = st.lists(
    st.sampled_from(["A", "man", " ", "  ", "\u2581", "<s>", "</s>", "<pad>", "<unk>", "<0x41>"])
).map("".join)


@given(text=TEXT | WORDS)
@example("  a \u00a0 man  ")
@example("line\u2028line\u0085\r\n\tend\n")
@example("\u2581\u2581 A\u2581man \u2581")
@example("<s> A </s> <pad><unk> <0x41> ⁇")
@example("🎉👩‍👩‍👧 \x00 \ufeff \ufffd \u2585")
@settings(deadline=None, max_examples=200)
def test_sentencepiece_restores_any_text(tokenizer: SentencePiece, text: str) -> None:
    ids = tokenizer.encode(text)
    assert min(ids, default=seqx.UNK + 1) > seqx.UNK
    assert tokenizer.decode(ids) == text
    sampled = tokenizer.encode(text, random.Random(1))
    assert min(sampled, default=seqx.UNK + 1) > seqx.UNK
    assert tokenizer.decode(sampled) == text


@pytest.mark.parametrize("separator", [" ", "_"])
@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_long_lines_are_training_text(
    tmp_path: Path, model: Literal["bpe", "unigram"], separator: str
) -> None:
    lines = [line.replace(" ", separator) for line in LINES]
    text = [separator.join(lines), "one short line"]  # the first one has more than 10,000 bytes
    tokenizers = SentencePiece(size=315, model=model, coverage=1), Marian(size=60)
    for name, learned in zip("ab", tokenizers, strict=True):
        learned.learn(text, tmp_path / name)
        assert len(learned.encode(lines[0])) < len(lines[0])
        assert any("ä" in symbol for symbol in learned.symbols(range(learned.size)))


def test_sentencepiece_encodes_frequent_words_with_few_symbols(tokenizer: SentencePiece) -> None:
    ids = tokenizer.encode("Two girls")
    assert len(ids) < len("Two girls")
    assert tokenizer.encode("") == []
    with_special = [seqx.BOS, *ids, seqx.EOS, seqx.PAD]
    assert tokenizer.decode(with_special) == "Two girls"
    assert ids == tokenizer.encode("near Two girls")[-len(ids) :]


def test_sampled_segmentation_depends_on_its_generator_only(tokenizer: SentencePiece) -> None:
    text = "The small dog follows the old house near a bridge ."

    def drawn(seed: int) -> list[int]:
        return tokenizer.encode(text, random.Random(seed))

    first = [drawn(seed) for seed in range(20)]
    assert len({tuple(ids) for ids in first}) > 5
    assert [drawn(seed) for seed in reversed(range(20))][::-1] == first


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_sentencepiece_training_is_deterministic(tmp_path: Path, model: Literal["bpe", "unigram"]) -> None:
    for name in "ab":
        train(tmp_path / name, model)
    (first,), (second,) = ((tmp_path / name).iterdir() for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_sentencepiece_size_is_saved_with_the_model(tmp_path: Path, tokenizer: SentencePiece) -> None:
    assert SentencePiece(size=1234).size == 1234
    assert tokenizer.size == 315
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode("A man sees") == tokenizer.encode("A man sees")
    train(tmp_path, "bpe", size=310)
    other = SentencePiece()
    other.load(tmp_path)
    assert other.size == 310
    assert other.decode(other.encode("A man")) == "A man"


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_too_large_vocabulary_size_names_the_largest_possible(
    tmp_path: Path, model: Literal["bpe", "unigram"]
) -> None:
    with pytest.raises(seqx.UserError, match=r"size 50000; set size to at most \d+$") as caught:
        train(tmp_path / "a", model, size=50_000)
    largest = int(str(caught.value).rsplit(maxsplit=1)[-1])
    assert train(tmp_path / "b", model, size=largest).size == largest


def test_too_small_vocabulary_size_and_empty_text_are_reported(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match=r"size 265 is too small for the characters .* more than \d+"):
        train(tmp_path, "bpe", size=265)
    with pytest.raises(ValueError, match="size: 261 is too small, because 261 are reserved"):
        SentencePiece(size=261, symbols=("<2de>",))
    with pytest.raises(seqx.UserError, match="there is no training text"):
        SentencePiece().learn(["", "  "], tmp_path)
    with pytest.raises(seqx.UserError, match="cannot be read as a SentencePiece model"):
        SentencePiece().load(tmp_path / "nowhere")


def test_sentencepiece_without_byte_fallback_uses_unk(tmp_path: Path) -> None:
    tokenizer = SentencePiece(size=90, coverage=1.0, byte_fallback=False)
    tokenizer.learn(LINES, tmp_path)
    assert seqx.UNK in tokenizer.encode("猫")
    assert seqx.UNK in tokenizer.encode("\u2581")
    assert tokenizer.decode(tokenizer.encode("A man")) == "A man"


def test_sentencepiece_rejects_duplicate_symbols() -> None:
    with pytest.raises(ValueError, match="symbols: contains duplicates"):
        SentencePiece(symbols=("<2de>", "<2de>"))


@pytest.mark.parametrize("symbol", ["<pad>", "<s>", "</s>", "<unk>", "<0x41>", "a\0", "\ud800"])
def test_symbols_with_another_meaning_are_refused(symbol: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"symbols: .* choose another string"):
        SentencePiece(symbols=("<2de>", symbol))


@pytest.mark.parametrize("symbol", ["<0x4g>", "<0x041>", "<S>", "<sep>", "<mask>", ",", '"', "é"])
def test_symbols_that_only_look_special_stay_whole(symbol: str, tmp_path: Path) -> None:
    tokenizer = SentencePiece(size=340, symbols=(symbol,))
    tokenizer.learn(LINES, tmp_path)
    assert symbol in tokenizer.symbols(tokenizer.encode(f"a{symbol}man"))


def test_sentencepiece_keeps_symbols_whole(tmp_path: Path) -> None:
    tokenizer = SentencePiece(size=330, symbols=("<2de>",))
    tokenizer.learn(LINES, tmp_path)
    plain, marked = tokenizer.encode("A man"), tokenizer.encode("<2de> A man")
    assert len(marked) <= len(plain) + 2
    assert tokenizer.decode(marked) == "<2de> A man"
    with pytest.raises(ValueError, match="symbols"):
        SentencePiece(symbols=("",))


def test_sentencepiece_samples_training_lines_deterministically(tmp_path: Path) -> None:
    lines = LINES

    def trained_bytes(name: str, sample: int) -> bytes:
        SentencePiece(size=310, sample=sample, coverage=1.0).learn(iter(lines), tmp_path / name)
        return next((tmp_path / name).iterdir()).read_bytes()

    assert trained_bytes("a", 40) == trained_bytes("b", 40)
    assert trained_bytes("c", 625) == trained_bytes("d", 10_000) != trained_bytes("a", 40)


def test_sentencepiece_restores_real_text(data: Callable[[str], Path], tmp_path: Path) -> None:
    import gzip

    with gzip.open(data("tatoeba_en_de") / "test.de.gz") as file:
        lines = file.read().decode().split("\n")
    tokenizer = SentencePiece(size=1500)
    tokenizer.learn(lines, tmp_path)
    assert [tokenizer.decode(tokenizer.encode(line)) for line in lines] == lines
    assert sum(len(tokenizer.encode(line)) for line in lines) < 0.45 * sum(map(len, lines))
