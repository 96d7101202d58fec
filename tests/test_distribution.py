"""The distribution is called seqx-toolkit: on the package index, `seqx` is another project."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_INSTALLED = re.compile(
    r"\b(?:pip|pipx|uv|uvx|conda|poetry)\b[^\n|;&]*?[ '\"\[,]seqx(?:\[[^\]]*\])?(?=[\s'\",;\])=<>~!]|$)"
)
_REQUIRED = re.compile(r"['\"]seqx(?:\[[\w,-]+\]|\s*(?:[><=~!]=|[<>@]))")
_ALLOWED = {"seqx_toolkit.py", "tests/test_distribution.py"}


def find_instructions(text: str) -> list[str]:
    """Return the parts of a text that would install the package `seqx` of the package index."""
    return [match.group() for pattern in (_INSTALLED, _REQUIRED) for match in pattern.finditer(text)]


@pytest.mark.parametrize(
    "text",
    [
        "pip install seqx",
        "setup: pip install seqx",
        "pip install -c constraints.txt seqx torch",
        "pip install 'seqx[moses]'",
        'pip install "seqx>=0.1"',
        "uv pip install seqx==0.1.3",
        "pipx run seqx",
        'dependencies = ["seqx>=0.1.0"]',
        '"seqx[draw,moses]",',
        "  pip: [seqx]",
    ],
)
def test_instructions_for_the_other_project_are_recognised(text: str) -> None:
    assert find_instructions(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install -c constraints.txt '.[moses]'",
        "pip install seqx-toolkit",
        "cd seqx-fire && pip install --editable '.[dev]'",
        'dependencies = ["seqx-toolkit>=0.1.0"]',
        'pip: ["seqx-toolkit @ git+https://git.example.org/seqx"]',
        "pip install git+https://git.example.org/seqx",
        "pip install . ; seqx run wmt_en_de",
    ],
)
def test_other_instructions_are_not_recognised(text: str) -> None:
    assert not find_instructions(text)


def test_no_file_has_instructions_for_the_other_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [name for name in listed.stdout.decode().split("\0") if name and name not in _ALLOWED]
    assert len(files) > 500
    wrong = {
        name: found
        for name in files
        if (ROOT / name).is_file()
        and (found := find_instructions((ROOT / name).read_text(encoding="utf-8", errors="replace")))
    }
    wrong.pop("tests/core/plugin/test_loading.py")  # tests that a plugin with this dependency is refused
    assert wrong == {}


@pytest.fixture
def other_project(tmp_path: Path) -> Path:
    """Create a folder with the metadata of the other project, as if it were installed there."""
    info = tmp_path / "seqx-0.1.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: seqx\nVersion: 0.1.3\n")
    return tmp_path


def run_entry_point(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its entry point does; the folder `path` comes first in the import path."""
    program = "import seqx_toolkit; seqx_toolkit.main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_installed_other_package_is_reported(other_project: Path) -> None:
    done = run_entry_point(other_project, "--version")
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "seqx")
    assert done.stderr.startswith(
        "seqx: the package 'seqx' 0.1.3 is installed in this environment. It is not this"
    )
    assert done.stderr.count("\n") == 1


def test_importing_the_other_package_prints_only_the_message(other_project: Path) -> None:
    (other_project / "seqx").mkdir()
    (other_project / "seqx" / "__init__.py").touch()
    done = run_entry_point(other_project, "--version")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip uninstall seqx && pip install --force-reinstall --no-deps ." in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_message_if_the_other_package_is_not_installed(tmp_path: Path) -> None:
    done = run_entry_point(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
