"""The SentencePiece tokenizer (Kudo and Richardson 2018): byte pair encoding or a unigram language model.

Tokenization is lossless: text is not normalized, spaces are preserved, and characters that are not in the
vocabulary are encoded as bytes.
"""

import io
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

import seqx
from seqx_text.segmentation import Merges, Segmentation, Unigram
from seqx_text.sentencepiece_models import SPACE, read_model, short_lines, surface

# No subword contains parts of two words; only `symbols` can.
_WORD = re.compile(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+")
_NO_MATCH = "(?!)"  # a regular expression that matches nothing
_FILE = "sentencepiece.model"
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
# The message ModelProto {normalizer_spec {add_dummy_prefix: true}}. Appended messages override settings.
_PREPENDS_SPACE = b"\x1a\x02\x18\x01"
_MAX_BYTES = 1 << 26  # maximum bytes of a model file; with 32,000 subwords it has less than a million bytes


class SentencePiece(seqx.Tokenizer):
    """Subwords by SentencePiece: byte pairs (Sennrich et al. 2016) or a unigram model (Kudo 2018).

    Args:
        size: vocabulary size, including four special symbols and 256 bytes
        model: method of training: bpe merges frequent pairs; unigram prunes a unigram language model
        coverage: fraction of the characters of the training text that are in the vocabulary; other characters
            are encoded as bytes
        byte_fallback: encode characters that are not in the vocabulary as bytes; if false, they become UNK
        symbols: strings that are always a single symbol
        sample: maximum number of training lines; of a larger text, lines are sampled with a fixed seed
        alpha: strength of subword regularisation. With bpe it is the probability of dropping a merge
            (BPE-dropout, Provilkov et al. 2020). With unigram it smooths the distribution, from 0 (uniform)
            to 1 (not smoothed; Kudo 2018)
        nbest: with unigram, number of best segmentations from which one is sampled; -1: all; 0 or 1: the best
            segmentation, without sampling
    """

    adjustable = frozenset({"alpha", "nbest"})
    extendable = frozenset({"symbols"})

    def __init__(
        self,
        *,
        size: Annotated[int, Gt(4)] = 8000,
        model: Literal["bpe", "unigram"] = "bpe",
        coverage: Annotated[float, Gt(0), Le(1)] = 0.9995,
        byte_fallback: bool = True,
        symbols: tuple[str, ...] = (),
        sample: Annotated[int, Gt(0)] = 1_000_000,
        alpha: Annotated[float, Ge(0), Le(1)] = 0.1,
        nbest: Annotated[int, Ge(-1)] = -1,
    ) -> None:
        if any(not symbol or SPACE in symbol or " " in symbol for symbol in symbols):
            raise ValueError(f"symbols: a symbol is empty or contains a space or {SPACE!r}; remove it")
        special = [symbol for symbol in symbols if _is_special(symbol, byte_fallback=byte_fallback)]
        if special:
            raise ValueError(
                f"symbols: {', '.join(map(repr, special))} has a special meaning in SentencePiece "
                "(padding, a boundary, unknown, a byte) or is not valid text; choose another string"
            )
        reserved = len(_SPECIAL) + byte_fallback * 256 + len(symbols)
        if size <= reserved:
            raise ValueError(
                f"size: {size} is too small, because {reserved} are reserved for special symbols, bytes and "
                "`symbols`; set size to more than that plus the number of different characters of the text"
            )
        if len(set(symbols)) < len(symbols):
            raise ValueError("symbols: contains duplicates; list each symbol once")
        self._size = size
        self._model: Literal["bpe", "unigram"] = model
        self._coverage = coverage
        self._byte_fallback = byte_fallback
        self._symbols = symbols
        self._sample = sample
        self._alpha = alpha
        self._nbest = nbest
        self._processor: Any = None
        self._space: list[int] = []
        self._sampler: _Sampler | None = None

    @property
    def size(self) -> int:
        """The number of ids."""
        return self._size if self._processor is None else self._processor.get_piece_size()

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Train on lines of text, which are read once, and save the model in `folder`."""
        import sentencepiece  # noqa: PLC0415

        text = _reservoir_sample(
            (" " + line.replace(SPACE, " ") for line in lines if line.strip()), self._sample
        )
        if not text:
            raise seqx.UserError("sentencepiece: there is no training text; every line is empty")
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=short_lines(text),
                model_writer=written,
                model_type=self._model,
                vocab_size=self._size,
                character_coverage=self._coverage,
                byte_fallback=self._byte_fallback,
                user_defined_symbols=list(self._symbols),
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                pad_id=seqx.PAD,
                bos_id=seqx.BOS,
                eos_id=seqx.EOS,
                unk_id=seqx.UNK,
                num_threads=16,  # fixed, because it changes rounding, and with it the subwords
                minloglevel=2,
            )
        except RuntimeError as error:
            raise seqx.UserError(self._training_error(str(error))) from error
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_bytes(written.getvalue())
        self.load(folder)

    def extend(self, lines: Iterable[str], old: Path, folder: Path) -> None:
        """Add those of `symbols` that the model in `old` lacks."""
        self.load(old)
        new = [symbol for symbol in self._symbols if self._processor.piece_to_id(symbol) == seqx.UNK]
        folder.mkdir(parents=True, exist_ok=True)
        content = self._processor.serialized_model_proto() + b"".join(map(_user_defined, new))
        (folder / _FILE).write_bytes(content)
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Load the model from `folder`."""
        file = folder / _FILE
        self._processor = read_model(file, _MAX_BYTES)
        _check_special_ids(self._processor, file)
        self._space = self._encode_unknown(SPACE)
        self._sampler = None

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return ids without BOS and EOS; with `rng`, sample the segmentation, depending on `rng` alone."""
        if not text:
            return []
        # Prepend a space, so that the first word is encoded like any other. Encode SentencePiece's symbol for
        # a space, if the text has it, as bytes.
        first, *following = (" " + text).split(SPACE)
        ids = self._ids(first, rng)
        for part in following:
            ids += self._space
            ids += self._ids(part, rng)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are skipped."""
        text: str = self._processor.decode([id for id in ids if id > seqx.EOS])  # noqa: A001
        return text.removeprefix(" ")

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """Return the subwords, with U+2581 for a space."""
        return [self._processor.id_to_piece(token) for token in ids]

    def surfaces(self) -> Sequence[bytes | None]:
        """Return the UTF-8 bytes of each id.

        The bytes of an encoded text begin with a space, which `decode` removes.
        """
        model = self._processor
        return [
            None if model.is_control(i) or model.is_unknown(i) else surface(model, i)
            for i in range(model.get_piece_size())
        ]

    def specification(self) -> seqx.TokenizerSpec:
        """Return the symbols and a model that prepends a space, as `encode` does."""
        return seqx.TokenizerSpec(
            symbols=self.symbols(range(self.size)),
            sentencepiece=self._processor.serialized_model_proto() + _PREPENDS_SPACE,
        )

    def _ids(self, text: str, rng: random.Random | None) -> list[int]:
        """Return the ids of text that does not contain U+2581."""
        if rng is None or not text or (self._model == "unigram" and self._nbest in (0, 1)):
            return self._processor.encode(text)
        if self._model == "unigram" and self._nbest > 0:
            best = self._processor.nbest_encode(text, nbest_size=self._nbest)
            logs = [self._alpha * sum(map(self._processor.get_score, ids)) for ids in best]
            return rng.choices(best, [math.exp(log - max(logs)) for log in logs])[0]
        if self._sampler is None:
            self._sampler = self._build_sampler()
        ids: list[int] = []
        for subword in self._sampler.draw(text.replace(" ", SPACE), rng):
            subword_id = self._sampler.ids.get(subword)
            if subword_id is not None:
                ids.append(subword_id)
            elif self._byte_fallback or ids[-1:] != [
                seqx.UNK
            ]:  # consecutive unknown characters become one UNK
                ids += self._encode_unknown(subword)
        return ids

    def _build_sampler(self) -> "_Sampler":
        model = self._processor
        ids = {
            model.id_to_piece(i): i
            for i in range(model.get_piece_size())
            if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))
        }
        scores = {subword: model.get_score(ids[subword]) for subword in ids if subword not in self._symbols}
        sampler = Unigram if self._model == "unigram" else Merges
        return _Sampler(sampler(scores, self._alpha), ids, self._symbols)

    def _encode_unknown(self, character: str) -> list[int]:
        """Return the ids of a character that is not in the vocabulary: its bytes, or UNK."""
        if not self._byte_fallback:
            return [seqx.UNK]
        return [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in character.encode()]

    def _training_error(self, error: str) -> str:
        """Return a message about an error of SentencePiece's training."""
        if largest := re.search(r"value <= (\d+)", error):
            return (
                f"sentencepiece: the training text has too few different subwords for size {self._size}; "
                f"set size to at most {largest[1]}"
            )
        if least := re.search(r"required_chars\. \d+ vs (\d+)", error):
            return (
                f"sentencepiece: size {self._size} is too small for the characters of the training text; "
                f"set size to more than {least[1]}, or coverage to less than {self._coverage}"
            )
        return f"sentencepiece: {error}"


def _user_defined(symbol: str) -> bytes:
    """Return the message ModelProto {pieces {piece: symbol, score: 0, type: USER_DEFINED}}.

    Messages that are appended to a serialised model add pieces to its end.
    """
    content = symbol.encode()
    piece = b"\x0a" + _varint(len(content)) + content + b"\x15\0\0\0\0\x18\x04"
    return b"\x0a" + _varint(len(piece)) + piece


def _varint(number: int) -> bytes:
    """Return a number as Protocol Buffers encode it: 7 bits per byte, the lowest first."""
    high = number >> 7
    return bytes([number & 0x7F | 0x80]) + _varint(high) if high else bytes([number])


def _is_special(symbol: str, *, byte_fallback: bool) -> bool:
    """Return true if a string cannot be a symbol: it has a special meaning, or is not valid text."""
    is_byte = byte_fallback and re.fullmatch("<0x[0-9A-F]{2}>", symbol) is not None
    return symbol in _SPECIAL or is_byte or re.search("[\0\ud800-\udfff]", symbol) is not None


def _check_special_ids(model: Any, file: Path) -> None:
    """Check that the special ids of a model are those of seqx.

    Raises:
        UserError: they differ
    """
    special = [model.pad_id(), model.bos_id(), model.eos_id(), model.unk_id()]
    if special != [seqx.PAD, seqx.BOS, seqx.EOS, seqx.UNK]:
        raise seqx.UserError(
            f"{file}: cannot be read as a SentencePiece model (the ids of padding, begin, end and unknown "
            f"are {special} instead of 0 to 3)"
        )


class _Sampler:
    """A sampler of segmentations of lines, word by word; strings in `symbols` are not split."""

    def __init__(self, segmentation: Segmentation, ids: Mapping[str, int], symbols: Sequence[str]) -> None:
        self.ids = ids
        self._segmentation = segmentation
        longest_first = sorted(symbols, key=len, reverse=True)
        self._symbol = re.compile(f"({'|'.join(map(re.escape, longest_first)) or _NO_MATCH})")

    def draw(self, line: str, rng: random.Random) -> Iterator[str]:
        """Yield the subwords of `line`, and characters that are not in the vocabulary."""
        for index, part in enumerate(self._symbol.split(line)):
            if index % 2:  # a symbol
                yield part
            else:
                for word in _WORD.findall(part):
                    yield from self._segmentation.draw(word, rng)


def _reservoir_sample(lines: Iterator[str], max_lines: int) -> list[str]:
    """Return all lines, or a uniform sample of `max_lines` lines (Vitter 1985, algorithm R)."""
    sample = list(islice(lines, max_lines))
    rng = random.Random(0)  # noqa: S311
    for seen, line in enumerate(lines, max_lines + 1):
        if (index := rng.randrange(seen)) < max_lines:
            sample[index] = line
    return sample
