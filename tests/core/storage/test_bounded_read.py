"""Untrusted files and lines are read up to a maximum size."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import seqx
from seqx.commands.input_lines import InputLines
from seqx.storage.bounded_read import read_bounded, read_bounded_json
from seqx.storage.text_lines import MAX_LINE_BYTES
from seqx_parsing import Evalb, Parsing, TopDown
from seqx_sample import Sample
from seqx_text_tasks import Labels

pytestmark = [pytest.mark.promise("model-files-are-bounded"), pytest.mark.promise("json-is-checked")]

INVALID_LABELS = ["A\nB", "A)(B", "A B", "A\x1b[31m", "", "\ud800", "A" * 200_000]
"""Strings that are not labels of trees."""


def test_bounded_read_refuses_larger_files(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"[1]")
    assert read_bounded(file, 3) == b"[1]"
    assert read_bounded_json(file, 3) == [1]
    (tmp_path / "link").symlink_to(file)
    assert read_bounded(tmp_path / "link", 3) == b"[1]"
    with pytest.raises(OSError, match=r"^it has 3 bytes; the maximum is 2$"):
        read_bounded(file, 2)
    os.truncate(file, 1 << 40)
    with pytest.raises(OSError, match="the maximum is 1,048,576"):
        read_bounded(file, 1 << 20)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_bounded_read_refuses_devices_and_pipes(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(tmp_path / name, 10)


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "1" * 5000, "\udcff"])
def test_invalid_json_raises_value_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError):
        read_bounded_json(tmp_path / "x", 1 << 20)


@pytest.mark.parametrize("text", ["[1]", "{}", "[]", '"a"', "[" * 200_000, "[null]", f"[1{', 1' * 9999}]"])
def test_labels_file_must_be_a_list_of_strings(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(seqx.UserError, match=r"labels.json: cannot be read") as caught:
        Labels().load(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"symbols": "ab", "tags": []}',
        '{"symbols": [1], "tags": []}',
        '{"symbols": [null, 2], "tags": [3]}',
        '{"symbols": ["(S", ")S", "(S"], "tags": []}',
        '{"symbols": [], "tags": ["(NN"]}',
        *(json.dumps({"symbols": [f"({label}"], "tags": []}) for label in INVALID_LABELS),
        *(json.dumps({"symbols": [], "tags": [label]}) for label in INVALID_LABELS),
    ],
    ids=lambda text: text[:40],
)
def test_symbols_file_must_have_lists_of_labels(text: str, tmp_path: Path) -> None:
    class Tokenizer(Labels):
        def load(self, folder: Path) -> None:
            pass

    (tmp_path / "symbols.json").write_text(text)
    task = Parsing(corpus=Sample(), tokenizer=Tokenizer(), linearisation=TopDown(), metrics=[Evalb()])
    with pytest.raises(seqx.UserError, match=r"symbols.json: cannot be read") as caught:
        task.load(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def read_file(data: bytes, folder: Path) -> list[str]:
    (folder / "x.txt").write_bytes(data)
    return list(seqx.read_lines(folder / "x.txt"))


def read_command_input(data: bytes, folder: Path) -> list[str]:
    input_lines = InputLines(io.BytesIO(data))
    lines = [*input_lines]
    if input_lines.error is not None:
        raise input_lines.error
    return lines


@pytest.mark.promise("lines-are-bounded")
@pytest.mark.parametrize("read", [read_file, read_command_input])
def test_lines_have_a_maximum_length(read: Callable[[bytes, Path], list[str]], tmp_path: Path) -> None:
    assert read(b"a\n" + b"x" * (MAX_LINE_BYTES - 1) + b"\nb", tmp_path)[2] == "b"
    with pytest.raises(seqx.UserError, match=":2: the line has more than 16,777,216 bytes"):
        read(b"a\n" + b"x" * (MAX_LINE_BYTES + 9) + b"\nb", tmp_path)
