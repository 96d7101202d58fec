"""The differences between two recipes, setting by setting."""

from collections.abc import Iterator
from typing import Any

from seqx.recipe.configured import Value

NOT_SET = "not set"


def differences(before: object, now: object) -> dict[str, tuple[object, object]]:
    """Return the settings that differ between two plain recipes, by path: (value before, value now).

    If a recipe does not have the setting, its value is NOT_SET. An empty list or mapping is left out if the
    other recipe has items there, because these are listed.
    """
    old, new = _flat(before), _flat(now)
    parents = {parent for path in (*old, *new) for parent in _parents(path)}
    pairs = {
        path: (old.get(path, NOT_SET), new.get(path, NOT_SET))
        for path in sorted(old.keys() | new.keys())
        if not (path in parents and (old.get(path, new.get(path)) in ([], {})))
    }
    return {path: values for path, values in pairs.items() if values[0] != values[1]}


def _parents(path: str) -> Iterator[str]:
    """Yield the paths that contain a setting."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def unset_paths(value: Value, path: str = "") -> Iterator[str]:
    """Yield the paths of the settings of a checked recipe that no file sets, so that they have defaults.

    Args:
        value: the checked recipe, or a part of it
        path: the path of this part
    """
    for name, child in value.children().items():
        child_path = f"{path}.{name}".removeprefix(".")
        if child.at is None:
            yield child_path
        else:
            yield from unset_paths(child, child_path)


def is_at_or_below(setting: str, paths: tuple[str, ...]) -> bool:
    """Return true if the path of a setting is one of `paths`, or lies below one of them."""
    return any(setting == path or setting.startswith(f"{path}.") for path in paths)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the settings in a plain value by their paths. The path of a `type` is that of its component."""
    if value == {} and not path:  # an empty recipe has no settings
        return {}
    if isinstance(value, dict) and value:
        parts = [_flat(item, f"{path}.{key}".removeprefix(".")) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flat(item, f"{path}.{index}") for index, item in enumerate(value)]
    else:
        return {path.removesuffix(".type"): value}
    return {key: item for part in parts for key, item in part.items()}
