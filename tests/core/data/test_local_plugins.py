"""Preparation processes load tasks of local plugins, and name the plugin in messages about its errors."""

import sys
from pathlib import Path

import pytest

from seqx.data.prepare import prepare
from seqx.errors import Location
from seqx.plugin.blame import message_naming_plugin
from seqx.plugin.loading import load_plugins

PLUGIN = """\
import seqx
from tests.core.data.pairs import Pairs


class Local(Pairs):
    def example(self, row, *, training):
        if row[0] == "bad":
            raise RuntimeError("cannot read this")
        return super().example(row, training=training)


class Always(seqx.Schedule):
    def __call__(self, step):
        return 1.0


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Schedule, always=Always)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_preparation_processes_load_local_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("mine.py")
    file.write_text(PLUGIN, encoding="utf-8")
    load_plugins({file: Location("mine.yaml", 1, 1)}, found=[])
    file.unlink()  # the processes get the loaded text, not the file
    train = [(f"w{i}", f"w{i % 7}") for i in range(3000)]
    if fails:
        train[2500] = ("bad", "bad")
    task = sys.modules["seqx_local_mine"].Local({"train": train})
    if not fails:
        assert len(prepare(task, "train", {}, tmp_path / "cache", processes=2, min_rows=100)) == len(train)
        return
    with pytest.raises(RuntimeError) as caught:
        prepare(task, "train", {}, tmp_path / "cache", processes=2, min_rows=100)
    assert message_naming_plugin(caught.value) == (
        "mine.py:8: plugin mine.py: RuntimeError: cannot read this; `seqx --debug` shows the traceback"
    )
