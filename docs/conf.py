"""Settings of Sphinx for `make docs`."""

from sphinx.application import Sphinx

from seqx import __version__

project = "seqx"
version = release = __version__
copyright = "the seqx authors"  # noqa: A001  the name that Sphinx reads
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "seqx"
html_copy_source = False
source_suffix = [".md"]
myst_heading_anchors = 4
linkcheck_timeout = 10

_CONTENTS = "".join(
    f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{folder}/*\n```\n"
    for caption, folder in (
        ("Tutorials", "tutorials"),
        ("How-to guides", "how-to"),
        ("Reference", "reference"),
        ("Explanation", "explanation"),
    )
)


def _add_contents(_: Sphinx, name: str, source: list[str]) -> None:
    """Append the table of contents to the index page, where GitHub would show it as code."""
    if name == "index":
        source[0] += _CONTENTS


def setup(app: Sphinx) -> None:
    """Register `_add_contents`; Sphinx calls this function."""
    app.connect("source-read", _add_contents)
