"""Arguments and options that several commands share."""

import os.path
import re
from collections.abc import Iterable

import click

_OVERRIDE = re.compile(r"[\w.-]*\+?=")
_MODEL_FILES = (".yaml", ".yml", ".json", ".safetensors")

trust_option = click.option(
    "--trust-local-plugins",
    is_flag=True,
    help="Run the Python files that the model or run names as plugins. Use it only if you trust them.",
)
"""The option `--trust-local-plugins`: the command gets the keyword argument `trust_local_plugins`."""
device_option = click.option(
    "--device",
    metavar="DEVICE",
    default="auto",
    show_default=True,
    help="Device to compute on: auto, cpu, cuda, cuda:1, ...",
)
"""The option `--device`: the command gets the keyword argument `device`."""
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32", "int8"]),
    default="auto",
    show_default=True,
    help="Number format of matrix products; auto: bf16 if the device has units for it, else fp32. int8 is "
    "for CPUs only: linear maps are computed in int8, the rest in fp32.",
)
batch_tokens_option = click.option(
    "--batch-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Maximum padded tokens per batch; a smaller number needs less memory.",
)
profile_option = click.option("--profile", "-p", metavar="NAME", help="Apply a profile of the recipe.")
"""The option `--profile`: the command gets the keyword argument `profile`, None by default."""


def is_text_file(name: str) -> bool:
    """Return true if `name` is a file, but neither a recipe nor part of a model."""
    return os.path.isfile(name) and not name.endswith(_MODEL_FILES)  # noqa: PTH113  Path raises for some names


def split_overrides(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split arguments into names and overrides (KEY=VALUE, KEY+=VALUE), both in their order.

    An argument is an override if a dotted key precedes its first `=`, and no file or folder has this name:
    a model may be in `lr=1e-3/model`.
    """
    names: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        # Path.exists raises for an override that is longer than a file name may be.
        exists = os.path.exists(argument)  # noqa: PTH110
        (overrides if _OVERRIDE.match(argument) and not exists else names).append(argument)
    return names, overrides
