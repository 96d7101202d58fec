"""Valid inputs of each harness, which fuzzing mutates."""

import functools
import gzip
import io
import json
import struct
import tarfile
from collections.abc import Mapping, Sequence

from seqx_text import SentencePiece
from tests.fuzz.harnesses import SCRATCH, checkpoint_files, store_index
from tests.models import PARSING
from tests.stories.tiny import TINY

_TREE = "(TOP (S (NP (DT The) (NN dog)) (VP (VBZ barks)) (. .)))"
_QUOTED = "(S (`` ``) (NP (NN a)) ('' ') (POS '))"


def tar(members: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar archive of regular files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def header() -> bytes:
    """Return the safetensors header that the harness `weights` expects."""
    entries = {
        "bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
        "weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [12, 36]},
    }
    return json.dumps(entries).encode()


@functools.cache
def sentencepiece_model() -> bytes:
    """Return a small SentencePiece model."""
    folder = SCRATCH / "vocabulary"
    SentencePiece(size=280).learn(["the dog sees the old man", "near Paris"] * 9, folder)
    return (folder / "sentencepiece.model").read_bytes()


_TEXT = {"x.en": b"a\nb\n", "y": b"", "x.de.gz": gzip.compress(b"A\nB\n")}
_MODEL = {"format": 1, "steps": [4], "parameters": 9, "plugins": {"text": {"version": "1", "sha256": None}}}
_SCORES = {"test": {"bleu": {"value": 1.5, "signature": "x"}}}

SEEDS: Mapping[str, Sequence[bytes]] = {
    "yaml": [TINY.encode(), b'a: &x {b: [1, 1e-4, "\\u00e4"]}\nc: *x\nd: |\n  e\n'],
    "recipes": [
        TINY.encode(),
        PARSING.encode(),
        b"extends: other.yaml\nplugins: [./a.py]\nprofiles: {a: {b: 1}}\n",
    ],
    "trees": [f"{_TREE}\n".encode(), f"( {_QUOTED} )\n".encode()],
    "evalb": [f"{_TREE}\n{_TREE}".encode(), f"{_QUOTED}\n{_QUOTED}".encode()],
    "evalb_parameters": [b"DEBUG 0\nLABELED 1\nDELETE_LABEL TOP\nEQ_LABEL ADVP PRT\nCUTOFF_LEN 40\n"],
    "store": [store_index()],
    "weights": [header(), struct.pack("<Q", len(header())) + header() + bytes(36)],
    "checkpoint": checkpoint_files(),
    "about": [json.dumps(_MODEL).encode(), json.dumps(_SCORES).encode(), b'["a", "b"]'],
    "archive": [tar(_TEXT, "w"), tar(_TEXT), tar({"./" + name: text for name, text in _TEXT.items()})],
    "standard_input": [b'{"text": "a", "require": ["b"], "prefix": ""}\n', "a\u0085b\u2028\r\nc".encode()],
    "sentencepiece": [sentencepiece_model()],
}
