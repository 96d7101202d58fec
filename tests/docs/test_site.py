"""Build the documents as a site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.listings import ROOT


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    """All documents are read and their links resolved, but only one page is written."""
    pytest.importorskip("sphinx")
    page = str(ROOT / "docs" / "index.md")
    doctrees = ["--doctree-dir", str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "site")]
    for options in (["--builder", "dummy", "--fail-on-warning", *doctrees], [*doctrees, page]):
        command = [sys.executable, "-m", "sphinx", "--quiet", "--keep-going", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    # A search index is built only with all pages.
    assert re.fullmatch(r"WARNING: search index couldn't be loaded, .*\n", done.stderr), done.stderr
    assert "furo" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
