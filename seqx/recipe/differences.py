"""The differences between two recipes, setting by setting."""

from collections.abc import Iterator, Mapping
from typing import Any

from seqx.recipe.configured import Collection, Configured, Value

NOT_SET = "not set"


def differences(before: object, now: object) -> dict[str, tuple[object, object]]:
    """Return the settings that differ between two plain recipes: path to (value before, value now).

    The value is NOT_SET if a recipe does not have the setting.
    """
    first, second = _flat(before), _flat(now)
    pairs = {
        key: (first.get(key, NOT_SET), second.get(key, NOT_SET))
        for key in sorted(first.keys() | second.keys())
    }
    return {key: (one, other) for key, (one, other) in pairs.items() if one != other}


def left_out(value: Value, path: str = "") -> Iterator[str]:
    """Yield the paths of settings of a checked recipe that have their defaults, because no file sets them."""
    parts: Mapping[str, Value] = {}
    if isinstance(value, Configured):
        parts = value.settings
    elif isinstance(value, Collection):
        items = value.items
        parts = items if isinstance(items, Mapping) else {str(i): item for i, item in enumerate(items)}
    for name, item in parts.items():
        here = f"{path}.{name}".removeprefix(".")
        if item.at is None:
            yield here
        else:
            yield from left_out(item, here)


def inside(key: str, paths: tuple[str, ...]) -> bool:
    """Return true if a setting is one of `paths` or below one of them."""
    return any(key == path or key.startswith(f"{path}.") for path in paths)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return settings by their paths. The path of a `type` is that of its mapping, as for a bare name."""
    if isinstance(value, dict) and value:
        parts = [_flat(item, f"{path}.{key}".removeprefix(".")) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flat(item, f"{path}.{index}") for index, item in enumerate(value)]
    else:
        return {path.removesuffix(".type"): value}
    return {key: item for part in parts for key, item in part.items()}
