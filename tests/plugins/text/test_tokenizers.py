"""The tokenizers `words`, `chars` and `sentencepiece_file`."""

import io
from pathlib import Path

import pytest
import sentencepiece

import seqx
from seqx_sample import Sample
from seqx_text import Characters, SentencePieceFile, Words
from tests.models import RECIPE, write_model

LINES = ["The old man sees the house .", "the dog sle@@ eps .", "The dog 🐕 barks ."]


def existing_model(folder: Path, *, byte_fallback: bool = False) -> Path:
    """Train a SentencePiece model as other programs do: with a normalizer, <unk> first, and no <pad>."""
    written = io.BytesIO()
    sample = Sample(train=200, dev=1, test=1)
    sample.fetch(folder, lambda _, __: None)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for row in sample.rows("train") for text in row]),
        model_writer=written,
        vocab_size=600 if byte_fallback else 300,
        minloglevel=2,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
    )
    (folder / "other.spm").write_bytes(written.getvalue())
    return folder / "other.spm"


def test_words_are_separated_by_spaces(tmp_path: Path) -> None:
    words = Words(size=4 + 5)
    assert words.size == 9
    words.learn(LINES, tmp_path / "w")
    assert words.symbols(range(4, words.size)) == [
        ".",
        "The",
        "dog",
        "the",
        "barks",
    ]  # by frequency, then name
    assert words.encode("The  dog sleeps .") == [5, 6, seqx.UNK, 4]
    assert words.decode([seqx.BOS, 5, 6, seqx.UNK, 4, seqx.EOS]) == "The dog \ufffd ."
    again = Words()
    again.load(tmp_path / "w")
    assert (again.size, again.encode(LINES[1])) == (words.size, words.encode(LINES[1]))
    rare = Words(min_count=3)
    rare.learn(LINES, tmp_path / "rare")
    assert rare.symbols(range(4, rare.size)) == ["."]
    with pytest.raises(seqx.UserError, match="words: no symbol of the training text occurs 9 times"):
        Words(min_count=9).learn(LINES, tmp_path / "none")


def test_extended_words_keep_their_ids(tmp_path: Path) -> None:
    words = Words(size=4 + 5, min_count=2)
    words.learn(["a a b b", "c c"], tmp_path / "old")
    words.extend(["d d e c c", "f f f"], tmp_path / "old", tmp_path / "new")
    assert words.symbols(range(4, words.size)) == ["a", "b", "c", "f", "d"]
    words.extend([], tmp_path / "new", tmp_path / "same")
    assert words.size == 9


def test_characters_include_spaces_and_keep_marks(tmp_path: Path) -> None:
    characters = Characters()
    characters.learn([*LINES, "e\u0301e"], tmp_path / "c")
    text = "The 🐕 e\u0301"
    assert characters.decode(characters.encode(text)) == text
    assert len(characters.encode("e\u0301e")) == 2
    surfaces = characters.surfaces()
    assert b"".join(surfaces[i] or b"" for i in characters.encode(text)).decode() == text


@pytest.mark.parametrize("byte_fallback", [False, True])
def test_existing_sentencepiece_model_keeps_its_segmentation(tmp_path: Path, *, byte_fallback: bool) -> None:
    file = existing_model(tmp_path, byte_fallback=byte_fallback)
    tokenizer = SentencePieceFile(file=str(file))
    size = tokenizer.size
    tokenizer.learn(iter(()), tmp_path / "t")
    file_hash = tokenizer.identity()
    file.unlink()  # the model folder is complete
    again = SentencePieceFile(file=str(file))
    again.load(tmp_path / "t")
    assert (again.size, again.identity()) == (size, file_hash)
    original = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "t" / "sentencepiece.model"))
    for text in [*LINES, "Der alte Mann ﬁndet  das Haus. ", "日本"]:
        ids = again.encode(text)
        assert min(ids, default=4) >= seqx.UNK
        pieces = original.encode(text, out_type=str)
        known = [
            (found, piece)
            for found, piece in zip(again.symbols(ids), pieces, strict=True)
            if found != "<unk>"
        ]
        assert all(found == piece for found, piece in known)
        assert again.decode([seqx.BOS, *ids, seqx.EOS]) == original.decode(original.encode(text))
    assert (seqx.UNK in again.encode("日本")) != byte_fallback


def test_sentencepiece_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "bad.spm").write_bytes(b"no model")
    for name in ("bad.spm", "nothing.spm"):
        tokenizer = SentencePieceFile(file=str(tmp_path / name))
        with pytest.raises(seqx.UserError, match=rf"{name}: cannot be read as a SentencePiece model \("):
            tokenizer.learn(iter(()), tmp_path / "t")
        ((setting, _),) = tokenizer.setting_errors()
        assert setting == "file"


@pytest.mark.parametrize("tokenizer", ["words", "chars", "sentencepiece_file"])
def test_models_translate_with_each_tokenizer(tokenizer: str, tmp_path: Path) -> None:
    settings = f"{{type: {tokenizer}, size: 300}}"
    if tokenizer == "sentencepiece_file":
        settings = f"{{type: sentencepiece_file, file: {existing_model(tmp_path)}}}"
    recipe = RECIPE.replace("{type: sentencepiece, model: bpe, size: 400}", settings)
    predictor = seqx.load(write_model(tmp_path / "m", text=recipe), device="cpu")
    requests = [seqx.Request(input="The old man sees the house.", prefix="Der"), "The dog"]
    first, second = predictor(requests)
    assert first.startswith("Der")
    assert second
