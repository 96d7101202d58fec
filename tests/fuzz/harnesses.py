"""Harnesses for the parsers of untrusted bytes. Each must return or raise a UserError.

A harness is a function of bytes. Hypothesis calls it with mutated seeds (test_harnesses.py), atheris with
bytes that reach new code (`python -m tests.fuzz`), and both with all inputs that failed before (`found/`).
"""

import contextlib
import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from seqx import recipe
from seqx.commands.input_lines import InputLines
from seqx.commands.request_lines import RequestLines
from seqx.data.ragged import Ragged
from seqx.data.store import Store, Writer
from seqx.errors import RecipeError, UserError
from seqx.plugin.loading import Plugins, load_plugins
from seqx.recipe import yaml_tree
from seqx.recipe.overrides import override
from seqx.recipe.yaml_writer import dump
from seqx.run_record import Record
from seqx.storage import manifest
from seqx.storage.bounded_read import read_bounded_json
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import FORMAT, read_json
from seqx.storage.manifest import Manifest
from seqx.storage.text_lines import read_lines
from seqx.storage.weights import read_weights
from seqx.training.description import Experiment
from seqx_parsing.evalb import Evalb
from seqx_parsing.evalb.parameters import read_parameters
from seqx_parsing.reader import read as read_trees
from seqx_text import SentencePiece
from seqx_text_tasks import Labels
from seqx_translation import Archive
from seqx_translation.archive import extract

SCRATCH = Path(tempfile.mkdtemp(prefix="seqx-fuzz-"))
_TEXT = "the dog sees the old man near Paris .\nträge Eule\n"


def _file(name: str, data: bytes) -> Path:
    file = SCRATCH / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def yaml(data: bytes) -> None:
    """Parse YAML, check that the tree can be written and read again, and parse its lines as overrides."""
    node = yaml_tree.read(_file("tree.yaml", data))
    again = yaml_tree.parse(dump(node.plain()), "again")
    assert repr(again.plain()) == repr(node.plain())
    assert len(str(yaml_tree.merge(node, again))) >= 0
    for line in data.decode("utf-8-sig").split("\n")[:3]:
        with contextlib.suppress(RecipeError):
            override(node, line)


class _Registry:
    """The installed plugins, which are loaded only once."""

    plugins: Plugins | None = None

    @classmethod
    def get(cls) -> Plugins:
        cls.plugins = cls.plugins or load_plugins()
        return cls.plugins


def recipes(data: bytes) -> None:
    """Read and check a recipe like that of a model."""
    loaded = recipe.load(_file("recipe.yaml", data), local_plugins=False, self_contained=True)
    recipe.check(loaded.tree, _Registry.get().registry, Experiment)


def trees(data: bytes) -> None:
    """Read bracketed trees, and check that they can be written and read again."""
    for tree in read_trees(read_lines(_file("trees.txt", data)), "trees.txt"):
        assert [*read_trees([str(tree)], "again")] == [tree]
        assert tree.readable() is tree


def evalb(data: bytes) -> None:
    """Score a tree against a gold tree, and print EVALB's report."""
    gold, _, answer = data.decode(errors="replace").partition("\n")
    for strict in (False, True):
        metric = Evalb(strict=strict, labels=True, errors=True)
        scores = metric([answer], [gold])
        assert all(0 <= score.value <= 100 or score.value != score.value for score in scores.values())
        metric.report([answer], [gold])


def evalb_parameters(data: bytes) -> None:
    """Read a parameter file of EVALB."""
    assert read_parameters(_file("x.prm", data)).signature


def store(data: bytes) -> None:
    """Open a store with this index and valid other files."""
    folder = SCRATCH / "store"
    if not folder.is_dir():
        _write_store(folder)
    (folder / "index.json").write_bytes(data)
    opened = Store.open(folder)
    for i in range(len(opened)):
        opened[i]
        opened.text(i)


def _write_store(folder: Path) -> None:
    folder.mkdir()
    writer = Writer(folder)
    column = Ragged.of(np.array([1, 2, 300]), np.array([1, 2]))
    text = Ragged.of(np.frombuffer(b"ab", np.uint8), np.array([1, 1]))
    writer.add({"target": column}, {"target": text})
    writer.finish(rows=2, dropped={}, leaks={}, identity="i")


def store_index() -> bytes:
    """Return a valid index of a store."""
    folder = SCRATCH / "good"
    if not folder.is_dir():
        _write_store(folder)
    return (folder / "index.json").read_bytes()


def weights(data: bytes) -> None:
    """Read a file of weights, and a file with these bytes as header and valid tensors."""
    model = torch.nn.Linear(2, 3)
    for content in (data, struct.pack("<Q", len(data)) + data + bytes(36)):
        try:
            read_weights(model, _file("model.safetensors", content))
        except UserError as error:
            assert "model.safetensors: " in str(error)  # noqa: PT017  an error is allowed, too


def checkpoint(data: bytes) -> None:
    """Restore a checkpoint in which each JSON file in turn has these bytes, and a matching manifest."""
    checkpoints, model = Checkpoints(SCRATCH / "checkpoints"), torch.nn.Linear(2, 3)
    folder = checkpoints.path(1)
    if not folder.is_dir():
        checkpoints.save(
            TrainingProgress(step=1), model, {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
        )
    for name in ("states.json", "checkpoint.json", manifest.MANIFEST):
        original = {file: file.read_bytes() for file in (folder / name, folder / manifest.MANIFEST)}
        (folder / name).write_bytes(data)
        if name != manifest.MANIFEST:
            Manifest.seal(folder, FORMAT)
        with contextlib.suppress(UserError):
            checkpoints.restore(1, model, torch.device("cpu"))
        for file, content in original.items():
            file.write_bytes(content)


def checkpoint_files() -> list[bytes]:
    """Return the valid JSON files of a checkpoint."""
    checkpoint(b"{}")
    return [
        (SCRATCH / "checkpoints" / "00000001" / name).read_bytes()
        for name in ("states.json", "checkpoint.json", manifest.MANIFEST)
    ]


def about(data: bytes) -> None:
    """Read the JSON files of a model and of a run."""
    run = SCRATCH / "run"
    (run / "task").mkdir(parents=True, exist_ok=True)
    (run / "checkpoints").mkdir(exist_ok=True)
    file = _file("run/environment.json", data)
    for name in ("model.json", "scores.json"):
        _file(f"run/model/{name}", data)
    _file("run/recipe.yaml", b"training: {steps: 1}\n")
    _file("run/model/recipe.yaml", b"training: {steps: 1}\n")
    with contextlib.suppress(OSError, ValueError):
        json.dumps(read_bounded_json(file, 1 << 20))
    with contextlib.suppress(UserError):
        read_json(file)
    with contextlib.suppress(UserError):
        Labels().load(_file("labels/labels.json", data).parent)
    Record.read(run)


class _AnyChecksum:
    """A collection that contains every checksum."""

    def __contains__(self, _checksum: object) -> bool:
        return True


def archive(data: bytes) -> None:
    """Extract two members of an archive, once without checking the checksums of its headers."""
    target = {"en": SCRATCH / "text.en", "de": SCRATCH / "text.de"}
    description = Archive(
        url="https://localhost/x.tgz", size=1, sha256="0" * 64, members={"en": "x.en", "de": "x.de.gz"}
    )
    with (
        contextlib.suppress(UserError),
        mock.patch.object(tarfile, "calc_chksums", return_value=_AnyChecksum()),
    ):
        extract(description, _file("x.tar", data), target, lambda _what, _share: None)
    extract(description, _file("x.tgz", data), target, lambda _what, _share: None)


def standard_input(data: bytes) -> None:
    """Read standard input as text and as JSON; each line feed ends a line."""
    stream = InputLines(io.BytesIO(data))
    lines = [*stream]
    if stream.error is None:
        assert len(lines) == data.count(b"\n") + (data[-1:] not in (b"", b"\n"))
    for line in lines:
        with contextlib.suppress(UserError):
            request = RequestLines(as_json=True).parse(line)
            str(request).encode()
    for suffix in ("txt", "gz"):
        with contextlib.suppress(UserError):
            assert all("\n" not in line for line in read_lines(_file(f"lines.{suffix}", data)))


def sentencepiece(data: bytes) -> None:
    """Load a SentencePiece model, and segment a text with it."""
    tokenizer = SentencePiece()
    tokenizer.load(_file("pieces/sentencepiece.model", data).parent)
    ids = tokenizer.encode(_TEXT)
    assert isinstance(tokenizer.decode(ids), str)
    tokenizer.symbols(ids)


HARNESSES: Mapping[str, Callable[[bytes], None]] = {
    harness.__name__: harness
    for harness in (
        yaml,
        recipes,
        trees,
        evalb,
        evalb_parameters,
        store,
        weights,
        checkpoint,
        about,
        archive,
        standard_input,
        sentencepiece,
    )
}


def run_harness(name: str, data: bytes) -> None:
    """Run a harness on bytes; it may raise a UserError whose message can be encoded."""
    with contextlib.suppress(UserError):
        try:
            HARNESSES[name](data)
        except UserError as error:
            str(error).encode("utf-8", errors="surrogateescape")
            raise
