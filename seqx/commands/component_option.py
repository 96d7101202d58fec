"""Build the component that an option of a command names."""

from collections.abc import Iterable
from dataclasses import make_dataclass
from keyword import iskeyword
from typing import TypeVar

from typing_extensions import TypeForm

from seqx.plugin.loading import load_plugins
from seqx.recipe import check
from seqx.recipe.overrides import override, parse_override_value
from seqx.recipe.yaml_tree import Node

T = TypeVar("T")


def component_from_option(interface: TypeForm[T], option: str, value: str, settings: Iterable[str] = ()) -> T:
    """Build a component that an option names; check it like a component of a recipe.

    Args:
        interface: the interface of the component
        option: the option, such as `--metric`
        value: the value of the option: a name, or YAML such as `{type: chrf, words: 2}`
        settings: further settings, each as KEY=VALUE

    Raises:
        RecipeError: all problems, each with its location
    """
    name = option.lstrip("-")
    name = f"{name}_" if iskeyword(name) else name  # --from
    node = parse_override_value(value, f"{option} {value}", name)
    for setting in settings:
        node = override(node, setting)
    section = make_dataclass("Section", [(name, interface)], kw_only=True)
    return getattr(check(Node({name: node}, node.at), load_plugins().registry, section)(), name)
