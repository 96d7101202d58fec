"""Which of a command's arguments are names, and which say KEY=VALUE; an option that commands share."""

import os.path
import re
from collections.abc import Iterable

import click

_OVERRIDE = re.compile(r"[\w.-]*=")

trust = click.option(
    "--trust-local-plugins", is_flag=True, help="Run the Python files that a model or a run names as plugins."
)


_OF_MODELS = (".yaml", ".yml", ".json", ".safetensors")


def texts(name: str) -> bool:
    """Return true if a file has this name and is neither a recipe nor a part of a model."""
    return os.path.isfile(name) and not name.endswith(_OF_MODELS)  # noqa: PTH113  Path raises for some names


def parted(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names among `arguments`, and the overrides, both in their order.

    An override has a dotted key before its first `=`, and no file or folder is called as it is: a model may
    lie in `lr=1e-3/model`.
    """
    names: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        # Path.exists raises for an override that is longer than a name may be.
        there = os.path.exists(argument)  # noqa: PTH110
        (overrides if _OVERRIDE.match(argument) and not there else names).append(argument)
    return names, overrides
