"""The command `seqx components`."""

import textwrap
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from seqx.commands.loading import load_with_plugins
from seqx.errors import UserError
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component, Registry, Setting, summary
from seqx.recipe.annotations import (
    ComponentShape,
    LeafShape,
    ListShape,
    MapShape,
    SectionShape,
    Shape,
    UnionShape,
    shape,
)
from seqx.recipe.suggestions import hint, nearest
from seqx.recipe.yaml_writer import dump


@click.command()
@click.argument("interface", required=False)
@click.argument("name", required=False)
@click.option("--recipe", metavar="RECIPE", help="Include the local plugins of this recipe.")
def components(interface: str | None, name: str | None, *, recipe: str | None) -> None:
    """List components and explain their settings.

    Without arguments, list all interfaces and their components. With an INTERFACE, such as attention, list
    its components with their summaries. With an INTERFACE and the NAME of a component, explain its settings.
    """
    registry = (load_plugins() if recipe is None else load_with_plugins(recipe)[1]).registry
    if interface is None:
        for each in registry.interfaces():
            click.echo(f"{each.__name__}: {', '.join(registry.components(each))}")
        return
    cls = _interface(interface, registry)
    known = registry.components(cls)
    if name is None:
        click.echo(f"{cls.__name__}: {summary(cls)}\n")
        width = max(map(len, known))
        for component in known.values():
            click.echo(f"{component.name:<{width}}  {component.summary}")
        return
    if name not in known:
        advice = (
            "" if recipe or nearest(name, known) else "; --recipe RECIPE includes the plugins of a recipe"
        )
        raise UserError(f"no {cls.__name__} is called {name!r}{hint(name, known)}{advice}")
    click.echo(_explain(known[name], registry))


def _interface(argument: str, registry: Registry) -> type:
    """Return the interface of a class name; ignore case and underscores."""
    interfaces = {cls.__name__: cls for cls in registry.interfaces()}
    folded = argument.replace("_", "").lower()
    for name, cls in interfaces.items():
        if name.lower() == folded:
            return cls
    raise UserError(f"no interface is called {argument!r}{hint(argument, interfaces)}")


def _explain(component: Component, registry: Registry) -> str:
    lines = [component.summary, f"{component.where}, plugin {component.plugin}", ""]
    for setting in component.settings.values():
        lines.append(f"{setting.name}: {type_and_default(setting, registry)}")
        lines += textwrap.wrap(setting.help, 90, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines if component.settings else [*lines, "It has no settings."])


def type_and_default(setting: Setting, registry: Registry) -> str:
    """Return the type and the default of a setting as text, such as `int > 0 = 8`."""
    text = _describe(shape(setting.annotation, registry))
    if setting.required:
        return f"{text}, required"
    default = setting.default
    is_plain = default is None or isinstance(default, str | int | float | list | tuple)
    plain = list(default) if isinstance(default, tuple) else default
    return f"{text} = {dump(plain, flow=True) if is_plain else getattr(default, '__name__', repr(default))}"


def _describe(setting_shape: Shape) -> str:
    match setting_shape:
        case ComponentShape():
            return setting_shape.interface.__name__
        case SectionShape():
            return f"section {setting_shape.cls.__name__}"
        case ListShape():
            return f"list of {_describe(setting_shape.inner)}"
        case MapShape():
            return f"mapping to {_describe(setting_shape.inner)}"
        case UnionShape():
            leaf = [setting_shape.leaf] if setting_shape.leaf else []
            return " or ".join(_describe(choice) for choice in [*setting_shape.choices, *leaf])
        case LeafShape():
            return _leaf(setting_shape.annotation)


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}


def _leaf(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        base, *limits = get_args(annotation)
        constraints = [
            f" {sign} {getattr(limit, key)}"
            for limit in limits
            for key, sign in _SIGNS.items()
            if hasattr(limit, key)
        ]
        return _leaf(base) + " and".join(constraints)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_leaf(arg) for arg in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_leaf(*get_args(annotation))}"
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    if annotation is type(None):
        return "null"
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    return annotation.__name__ if is_class else str(annotation).replace("typing.", "")
