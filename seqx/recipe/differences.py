"""How two recipes differ, setting by setting."""

from collections.abc import Iterator, Mapping
from typing import Any

from seqx.recipe.configured import Collection, Configured, Value

NOT_SET = "not set"


def differences(before: object, now: object) -> dict[str, tuple[object, object]]:
    """The settings, by their paths, that differ between two plain recipes; NOT_SET is where one has none."""
    first, second = _flat(before), _flat(now)
    pairs = {
        key: (first.get(key, NOT_SET), second.get(key, NOT_SET))
        for key in sorted(first.keys() | second.keys())
    }
    return {key: (one, other) for key, (one, other) in pairs.items() if one != other}


def left_out(value: Value, path: str = "") -> Iterator[str]:
    """The paths of settings that a checked recipe leaves to their defaults."""
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
    """Whether a setting is one of `paths`, or lies below one."""
    return any(key == path or key.startswith(f"{path}.") for path in paths)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Settings by their paths; a `type` by that of its mapping, as where the name stands alone."""
    if isinstance(value, dict) and value:
        parts = [_flat(item, f"{path}.{key}".removeprefix(".")) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flat(item, f"{path}.{index}") for index, item in enumerate(value)]
    else:
        return {path.removesuffix(".type"): value}
    return {key: item for part in parts for key, item in part.items()}
