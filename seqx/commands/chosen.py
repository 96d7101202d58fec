"""From an option of a command to the component that it names."""

from collections.abc import Iterable
from dataclasses import make_dataclass
from typing import TypeVar

from typing_extensions import TypeForm

from seqx.plugin.loading import load_plugins
from seqx.recipe import check
from seqx.recipe.overrides import laid, override
from seqx.recipe.yaml_tree import Node

T = TypeVar("T")


def component(kind: TypeForm[T], option: str, written: str, settings: Iterable[str] = ()) -> T:
    """A component that is named on the command line, checked and built like one that a recipe names.

    Args:
        kind: what it must be
        option: the option that names it, as `--metric`
        written: what the user wrote behind it: a name, or YAML as `{type: chrf, words: 2}`
        settings: each KEY=VALUE that sets more

    Raises:
        UserError: every problem, with its place
    """
    name = option.lstrip("-")
    node = laid(written, f"{option} {written}", name)
    for setting in settings:
        node = override(node, setting)
    section = make_dataclass("Section", [(name, kind)], kw_only=True)
    return getattr(check(Node({name: node}, node.at), load_plugins().registry, section)(), name)
