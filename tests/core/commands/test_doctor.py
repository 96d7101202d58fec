"""`seqx doctor` reports facts and problems, and never fails itself."""

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from seqx.commands import diagnosis
from seqx.runtime.extras import PURPOSES
from tests.stories.tiny import done

ROOT = Path(__file__).parents[3]


def report() -> SimpleNamespace:
    return SimpleNamespace(**json.loads(done("doctor", "--json")))


def test_doctor_fits_one_screen() -> None:
    lines = done("doctor").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    for name in ("versions", "cpu", "gpu", "memory", "disk", "cache", "extras", "plugins"):
        assert any(line.startswith(f"{name} ") for line in lines), name


def test_doctor_reports_facts_as_json() -> None:
    found = report()
    assert found.versions["torch"].startswith("2.")
    assert found.cpu["threads"] >= 1
    assert found.plugins["included"] >= 13
    assert found.cache["writable"]


def test_doctor_knows_the_purpose_of_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert PURPOSES.keys() == project["optional-dependencies"].keys()


def test_doctor_names_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis._installed
    monkeypatch.setattr(diagnosis, "_installed", lambda name: None if name == "uvicorn" else real(name))
    assert diagnosis.diagnose().facts["extras"]["serve"] == {"missing": ["uvicorn"], "purpose": "seqx serve"}


def test_doctor_reports_a_wrong_version(monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis._installed
    monkeypatch.setattr(diagnosis, "_installed", lambda name: "1.0" if name == "torch" else real(name))
    (problem,) = [each for each in diagnosis.diagnose().problems if each.startswith("torch: ")]
    assert problem.startswith("torch: 1.0 is installed, but seqx needs torch<2.14,>=2.11; install ")


def test_doctor_reports_plugins_that_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [EntryPoint("bad", "no_such_module", "seqx")]
    monkeypatch.setattr("seqx.plugin.loading.entry_points", lambda group: broken)
    entry = Mock(dist=None, value="mine:command", load=Mock(side_effect=SystemExit("no reason")))
    monkeypatch.setattr("seqx.cli.plugin_commands", lambda: ({"mine": [entry]}, []))
    problems = report().problems
    (plugin,) = [each for each in problems if each.startswith("plugin bad ")]
    assert "ModuleNotFoundError: No module named 'no_such_module'" in plugin
    assert "plugins: none is installed; install seqx again from its checkout" in problems
    assert "command mine, from mine:command: no reason; update or uninstall it" in problems


@pytest.mark.parametrize(
    ("cache", "problem"),
    [
        (
            "~nobody-here/cache",
            "cache: cannot be read: ~nobody-here/cache: the home folder is unknown; set the",
        ),
        (
            "/proc/cache",
            "cache: /proc/cache is not writable; make it writable, or set the environment variable",
        ),
    ],
)
def test_doctor_reports_an_unusable_cache(monkeypatch: pytest.MonkeyPatch, cache: str, problem: str) -> None:
    monkeypatch.setenv("SEQX_CACHE", cache)
    assert any(each.startswith(problem) for each in report().problems)
    assert f"- {problem[:60]}" in done("doctor")


@pytest.mark.parametrize("part", diagnosis._PARTS)
def test_doctor_survives_an_error_in_each_part(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    others = {name: lambda _problems: None for name in diagnosis._PARTS}
    monkeypatch.setattr(diagnosis, "_PARTS", {**others, part: Mock(side_effect=RuntimeError("boom\n!"))})
    assert report().problems == [f"{part}: cannot be read: boom !"]
    assert f"- {part}: cannot be read: boom !" in done("doctor")


def test_doctor_reports_little_memory_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 1000000 kB\n")
    monkeypatch.setattr(diagnosis, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1e9))
    problems = report().problems
    assert any(each.startswith("memory: only 1.0 GB are available; ") for each in problems)
    assert any(each.endswith("has only 1.0 GB left; free disk space") for each in problems)
