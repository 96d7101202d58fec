"""Translate old names of settings in recipes that seqx stored; recipes that users write must not have them.

The class attribute `renamed` of a component or a section maps old names to new ones. If values have changed,
too, `renamed_values` maps the old values of an old name to new ones. Therefore runs and models of earlier
versions, whose `recipe.yaml` has old names, still load.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seqx.plugin.registry import renamed_settings, renamed_values
from seqx.recipe.configured import Collection, Configured, Value

_STORED_BESIDE = ("environment.json", "model.json")  # files beside the stored recipe of a run, of a model


def is_stored(source: str) -> bool:
    """Return true if a file is the recipe that seqx wrote into the folder of a run or a model."""
    file = Path(source)
    return file.name == "recipe.yaml" and any(file.with_name(name).is_file() for name in _STORED_BESIDE)


def with_new_names(stored: Any, checked: Value) -> Any:
    """Return a stored recipe, or a part of it, with the new names of its settings.

    Args:
        stored: plain values
        checked: a checked recipe, or a part of it; names of settings are translated where `stored` has a
            component of the same type
    """
    if isinstance(checked, Configured) and isinstance(stored, Mapping):
        name = None if checked.component is None else checked.component.name
        if stored.get("type") == name:
            renamed = renamed_settings(checked.maker)
            translated = {
                renamed.get(str(key), str(key)): with_new_value(checked.maker, str(key), value)
                for key, value in stored.items()
            }
            return _items(translated, checked.settings)
    if isinstance(checked, Collection):
        if isinstance(stored, Mapping) and isinstance(checked.items, Mapping):
            return _items(stored, checked.items)
        if isinstance(stored, list) and not isinstance(checked.items, Mapping):
            pairs = zip(stored, checked.items, strict=False)
            return [*(with_new_names(item, other) for item, other in pairs), *stored[len(checked.items) :]]
    return stored


def with_new_value(maker: Callable[..., Any], name: str, value: Any) -> Any:
    """Return the new value of a setting, as plain values, for its stored `name` and `value`."""
    values = renamed_values(maker, name)
    return values.get(value, value) if isinstance(value, str) else value


def _items(stored: Mapping[str, Any], checked: Mapping[str, Value]) -> dict[str, Any]:
    return {
        key: with_new_names(value, checked[key]) if key in checked else value for key, value in stored.items()
    }
