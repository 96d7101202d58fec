"""Merge overrides of the command line, `key.path=value`, into a recipe."""

from dataclasses import replace
from typing import Any

from seqx.errors import COMMAND_LINE, Location, Problem, RecipeError
from seqx.recipe.yaml_tree import Node, merge, parse, with_changed_locations

_MAX_DEPTH = 60  # maximum number of keys in a path


def parsed_override(text: str) -> tuple[str, Any]:
    """Return the path and the plain value of an override, `key.path=value`; after `+=` the path ends with +.

    Raises:
        RecipeError: it has another form, or the value is not YAML
    """
    root = override(Node({}, Location(COMMAND_LINE, 1, 1, text)), text)
    path = text.partition("=")[0]
    value = root.plain()
    for key in path.removesuffix("+").split("."):
        value = value[key]
    return path, value


def override(root: Node, text: str) -> Node:
    """Return a tree with one override merged into it: `key.path=value`, or `key.path+=value` for a list.

    The value is YAML. `+=` appends it to a list, or all of its items if it is a list.
    """
    path, equals, value = text.partition("=")
    at = Location(COMMAND_LINE, 1, 1, text)
    path, plus = path.removesuffix("+"), path.endswith("+")
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError([Problem(at, "an override has the form key.path=value, such as model.d_model=256")])

    if len(keys) > _MAX_DEPTH:
        raise RecipeError([Problem(at, f"a setting is at most {_MAX_DEPTH} levels deep, not {len(keys)}")])
    node = parse_override_value(value, text, path)
    return _put(root, keys, _appended(root, keys, node, at) if plus else node, at, "")


def _appended(root: Node, keys: list[str], new: Node, at: Location) -> Node:
    """Return the list at the path `keys`, with a value or the items of a list appended to it."""
    found: Node | None = root
    for key in keys:
        inside = None if found is None else found.value
        if isinstance(inside, list):
            found = inside[int(key)] if key.isdecimal() and int(key) < len(inside) else None
        else:
            found = inside.get(key) if isinstance(inside, dict) else None
    old = None if found is None else found.value
    if old is not None and not isinstance(old, list):
        message = "+= appends to a list, and this is not one; use ="
        raise RecipeError([Problem(at, f"{'.'.join(keys)}: {message}")])
    return Node([*(old or []), *(new.value if isinstance(new.value, list) else [new])], at)


def parse_override_value(value: str, text: str, path: str) -> Node:
    """Return the tree of the YAML `value`, which is the end of the command-line argument `text`."""
    column = len(text) - len(value)

    def in_argument(location: Location) -> Location:  # `parse` counts columns from the beginning of the value
        on_first_line = location.line == 1
        return replace(location, line=1, column=location.column + column if on_first_line else 1, text=text)

    try:
        node = parse(value, COMMAND_LINE)
    except RecipeError as error:
        raise RecipeError(
            [Problem(in_argument(p.at), f"{path}: {p.message}") for p in error.problems]
        ) from error
    return with_changed_locations(node, in_argument)


def _put(base: Node | None, keys: list[str], value: Node, at: Location, path: str) -> Node:
    """Return the tree `base`, which is at `path`, with `value` merged into it at the path `keys`."""
    if not keys:
        return value if base is None else merge(base, value)
    key, *rest = keys
    here = f"{path}.{key}".removeprefix(".")
    if base is not None and isinstance(base.value, list):
        items = list(base.value)
        if not (key.isdecimal() and int(key) < len(items)):
            contents = f"items 0 to {len(items) - 1}" if items else "no items"
            raise RecipeError([Problem(at, f"{here}: this is a list with {contents}")])
        items[int(key)] = _put(items[int(key)], rest, value, at, here)
        return Node(items, base.at)
    inner = base.value.get(key) if base is not None and isinstance(base.value, dict) else None
    over = Node({key: _put(inner, rest, value, at, here)}, at, {key: at})
    return over if base is None else merge(base, over)
