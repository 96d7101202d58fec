"""Digests of the code of plugins."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from seqx.plugin.code import code_digests
from seqx.plugin.loading import Plugins, load_plugins

SOURCE = """\
import seqx


class Always(seqx.Schedule):
    def __call__(self, step):
        return 1.0


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Schedule, always=Always)
"""


def digests(plugins: Plugins) -> list[str]:
    """Return the digests of the plugins whose components are used, here all of them."""
    return code_digests(plugins, [c for plugin in plugins.loaded for c in plugin.components])


@pytest.mark.parametrize("helper", ["always_{}/helper.py", "always_{}/inner/helper.py", "always_{}.py"])
def test_digest_covers_all_files_of_an_installed_plugin(
    helper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"digest_{len(helper)}"  # other names in each case, because modules are imported once
    file = tmp_path / helper.format(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SOURCE)
    (file if file.stem != "helper" else tmp_path / f"always_{name}" / "__init__.py").write_text(SOURCE)
    plugins = load_plugins(found=[EntryPoint(name, f"always_{name}", "seqx")])
    before = digests(plugins)
    assert len(before) == 1
    assert digests(plugins) == before
    file.write_text(f"{SOURCE}\nMORE = 1\n")
    assert digests(plugins) != before


def test_included_plugins_have_no_digest() -> None:
    assert digests(load_plugins()) == []
