"""The tokenizer of Marian models on the Hugging Face hub, such as OPUS-MT."""

import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, MinLen
from pydantic import TypeAdapter

import seqx
from seqx_text.sentencepiece_models import SPACE, read_model, short_lines, surface

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_LANGUAGE = re.compile(r">>.*?<<", re.DOTALL)
_MODEL = "sentencepiece.model"
_VOCABULARY = "vocabulary.json"
_MAX_BYTES = 1 << 26
_SYMBOLS = TypeAdapter(Annotated[list[str], MinLen(len(_SPECIAL))])


class Marian(seqx.Tokenizer):
    """SentencePiece as Marian and OPUS-MT use it: the symbols of a model, with ids from a list of symbols.

    `seqx import --from huggingface` writes the files of this tokenizer. SentencePiece normalizes the text
    (NFKC and white space), so outputs can differ from references in such characters. Subwords that the list
    does not have become UNK, which has no text. A text may begin with the language of its translation, as in
    >>fra<<, which is one symbol.

    Args:
        size: number of ids; a vocabulary is learned by a unigram model, with SentencePiece's defaults
        symbols: languages such as >>fra<< that a learned vocabulary has
    """

    extendable = frozenset({"symbols"})

    def __init__(self, *, size: Annotated[int, Gt(4)] = 32_000, symbols: tuple[str, ...] = ()) -> None:
        if wrong := [symbol for symbol in symbols if not _LANGUAGE.fullmatch(symbol)]:
            raise ValueError(f"symbols: {wrong[0]!r} is not a language such as >>fra<<; change or remove it")
        if len(set(symbols)) < len(symbols):
            raise ValueError("symbols: contains duplicates; list each symbol once")
        self._size = size
        self._extra_symbols = symbols
        self._processor: Any = None
        self._symbols: list[str] = []
        self._ids: dict[str, int] = {}

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self._symbols) or self._size

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Train on lines of text, and write the model and its symbols into `folder`."""
        import sentencepiece  # noqa: PLC0415

        written = io.BytesIO()
        failures: list[BaseException] = []  # SentencePiece wraps them into its own error
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=short_lines(_recording(lines, failures)),
                model_writer=written,
                vocab_size=self._size - len(self._extra_symbols) - 1,  # SentencePiece has no padding
                character_coverage=1.0,
                num_threads=16,  # fixed, because it changes rounding, and with it the subwords
                minloglevel=2,
            )
        except RuntimeError as error:
            if failures:
                raise failures[0] from None
            raise seqx.UserError(f"marian: the vocabulary cannot be learned ({error})") from error
        model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
        subwords = (model.id_to_piece(i) for i in range(model.get_piece_size()))
        symbols = [*_SPECIAL, *self._extra_symbols, *(each for each in subwords if each not in _SPECIAL)]
        self._write(folder, written.getvalue(), symbols)

    def extend(self, lines: Iterable[str], old: Path, folder: Path) -> None:
        """Add those of `symbols` that the vocabulary in `old` lacks."""
        self.load(old)
        symbols = dict.fromkeys([*self._symbols, *self._extra_symbols])
        self._write(folder, self._processor.serialized_model_proto(), [*symbols])

    def _write(self, folder: Path, model: bytes, symbols: Sequence[str]) -> None:
        """Write a model and its symbols, and load them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MODEL).write_bytes(model)
        (folder / _VOCABULARY).write_text(seqx.json_text(symbols, ensure_ascii=False), encoding="utf-8")
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Load the model and its symbols from `folder`."""
        self._processor = read_model(folder / _MODEL, _MAX_BYTES)
        symbols = seqx.read_json_as(_SYMBOLS, folder / _VOCABULARY, _MAX_BYTES)
        if tuple(symbols[: len(_SPECIAL)]) != _SPECIAL or len(set(symbols)) < len(symbols):
            raise seqx.UserError(
                f"{folder / _VOCABULARY}: must begin with {', '.join(_SPECIAL)} and have no duplicates; copy "
                "the model again"
            )
        self._symbols = symbols
        self._ids = {symbol: i for i, symbol in enumerate(symbols)}

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return ids without BOS and EOS; there is only one segmentation."""
        language = _LANGUAGE.match(text)
        first = [language[0]] if language else []
        subwords = self._processor.encode(text[language.end() :] if language else text, out_type=str)
        # A subword of unknown characters could be spelled like a special symbol.
        return [max(self._ids.get(subword, seqx.UNK), seqx.UNK) for subword in first + subwords]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special symbols are skipped, UNK included."""
        subwords = [self._symbols[i] for i in ids if i > seqx.UNK]
        text: str = self._processor.decode_pieces(subwords)
        return text.replace(SPACE, " ").strip()

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """Return the subwords, with U+2581 for a space."""
        return [self._symbols[i] for i in ids]

    def surfaces(self) -> Sequence[bytes | None]:
        """Return the UTF-8 bytes of each id.

        The bytes of an encoded text begin with a space, which `decode` removes.
        """
        model = self._processor
        return [None] * len(_SPECIAL) + [
            surface(model, model.piece_to_id(symbol))
            if model.is_byte(model.piece_to_id(symbol))
            else symbol.replace(SPACE, " ").encode()
            for symbol in self._symbols[len(_SPECIAL) :]
        ]

    def specification(self) -> seqx.TokenizerSpec:
        """Return the symbols and the SentencePiece model."""
        return seqx.TokenizerSpec(
            symbols=self._symbols, sentencepiece=self._processor.serialized_model_proto()
        )


def _recording(lines: Iterable[str], failures: list[BaseException]) -> Iterator[str]:
    """Yield the lines, and record an error or a signal that ends them."""
    try:
        yield from lines
    except BaseException as error:
        failures.append(error)
        raise
