"""HTML pages and views for notebooks from the templates of this plugin, without references to other files."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent / "templates"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def render(template: str, **values: Any) -> str:
    """Return the page of a template, which extends `page.html`, or `notebook.html` for a part of a page.

    All values are escaped, and control characters are replaced by visible ones.

    Args:
        template: the name of a file in `templates`
        values: the values that it shows
    """
    return _environment().get_template(template).render(**values)


def visible(text: str) -> str:
    """Return a text whose control characters are replaced: HTML does not allow them."""
    return _CONTROL.sub(lambda match: chr(0x2400 + ord(match[0])) if match[0] < " " else "\ufffd", text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    parts = _read("parts.css")
    environment.globals["style"] = Markup(parts + _read("page.css"))  # noqa: S704  files of this plugin
    in_view = f"{_read('notebook.css')}{parts}}}"  # nested, so that it changes nothing else in a notebook
    environment.globals["notebook_style"] = Markup(in_view)  # noqa: S704  files of this plugin
    script = "\n" + _read("page.js")
    environment.globals["script"] = Markup(script)  # noqa: S704  a file of this plugin
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals["script_digest"] = f"sha256-{digest}"
    return environment


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
