"""Start the `seqx` command of the distribution seqx-toolkit.

This module lies outside of package `seqx`. On the package index the name `seqx` belongs to another project,
which installs a package and a command of that name. If it is installed as well, `import seqx` may import its
files instead of ours, and only code outside of package `seqx` can print a message.
"""

import sys
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "seqx-toolkit"


def main(prog_name: str = "seqx") -> None:
    """Run the command line; first warn if the other project is installed in the same environment."""
    message = conflict()
    if message is not None and sys.stderr is not None:
        sys.stderr.write(f"{message}\n")
    try:
        from seqx.cli import main as command_line  # noqa: PLC0415  it may be the other project's package
    except ImportError:
        if message is None:
            raise
        sys.exit(2)
    command_line(prog_name=prog_name)


def conflict() -> str | None:
    """Return a message if a distribution called `seqx` is installed, else None."""
    try:
        installed = version("seqx")
    except PackageNotFoundError:
        return None
    return (
        f"seqx: the package 'seqx' {installed} is installed in this environment. It is not this project, "
        f"whose package is {DISTRIBUTION}, and both install a module and a command called seqx. Remove it, "
        "then install this one again from its checkout: pip uninstall seqx && "
        "pip install --force-reinstall --no-deps ."
    )
