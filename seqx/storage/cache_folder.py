"""The folder of the cache."""

import os
from pathlib import Path

from seqx.errors import UserError


def default_cache() -> Path:
    """Return the folder of the cache: the environment variable SEQX_CACHE, else ~/.cache/seqx.

    Raises:
        UserError: the home folder is unknown
    """
    name = os.environ.get("SEQX_CACHE") or "~/.cache/seqx"
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(
            f"{name}: the home folder is unknown; set the environment variable SEQX_CACHE to an absolute path"
        ) from None
