"""Packages that belong to optional extras of seqx."""

import importlib
from typing import Any

from seqx.errors import UserError


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
            f"pip install -c constraints.txt '.[{extra}]'"
        ) from None
