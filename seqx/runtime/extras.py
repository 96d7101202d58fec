"""Packages that belong to optional extras of seqx."""

import importlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from seqx.errors import UserError
from seqx_toolkit import DISTRIBUTION

PURPOSES: Mapping[str, str] = {
    "tensorboard": "the callback tensorboard",
    "draw": "figures of attention weights (--attention)",
    "ctranslate2": "export to CTranslate2, and search with it (--engine ctranslate2)",
    "huggingface": "export to Hugging Face transformers",
    "onnx": "export to ONNX",
    "serve": "seqx serve",
    "datasets": "the corpus datasets of Hugging Face",
    "mtdata": "the corpus mtdata: public parallel corpora by their ids",
    "sentences": "seqx parse --sentences",
    "docs": "building the documentation (make docs)",
    "dev": "developing seqx (make test)",
    "fuzz": "fuzz tests",
}
"""The purpose of each extra, for `seqx doctor`."""


def install_command(extra: str = "") -> str:
    """Return the command that installs seqx or one of its extras in a checkout.

    The new installation is editable if the present one is.
    """
    try:
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"pip install -c constraints.txt {editable}" + (f"'.[{extra}]'" if extra else ".")


def import_extra(module: str, extra: str) -> Any:
    """Import a module that belongs to an optional extra of seqx.

    Raises:
        UserError: the package is not installed
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{module} cannot be imported ({error}); install it in a checkout of seqx: "
            f"{install_command(extra)}"
        ) from None
