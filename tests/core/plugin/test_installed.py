"""Tests of the entry points of installed plugins."""

import sys
from pathlib import Path

import pytest

from seqx.plugin.installed import PLUGIN_GROUP, entry_points, origin
from seqx_toolkit import DISTRIBUTION


def _install(folder: Path, name: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[seqx]\n{name} = {name}\n")


def test_entry_points_of_packages_installed_later_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entry_points(group=PLUGIN_GROUP)
    assert entry_points(group=PLUGIN_GROUP) is before  # nothing has changed, so nothing is read again
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert entry_points(group=PLUGIN_GROUP) == before
    _install(tmp_path, "azure")
    found = entry_points(group=PLUGIN_GROUP)
    assert found[:-1] == before
    assert origin(found[-1]) == ("1.0", "azure")
    assert {origin(entry)[1] for entry in before} == {DISTRIBUTION}  # those of seqx come first
