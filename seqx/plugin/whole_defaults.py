"""The defaults of `float` settings that are whole numbers, as floats."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


@functools.cache
def float_defaults(maker: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the defaults of the `float` settings of a constructor that are whole numbers, as floats.

    Python accepts `start: float = 10`, but torch creates a tensor of integers from this default. Recipes and
    laws pass these values instead.
    """
    parameters = inspect.signature(maker).parameters.values()
    whole = {each.name: each.default for each in parameters if type(each.default) in (int, list, tuple, dict)}
    if not whole:
        return {}
    constructor = without_partials(maker)
    function: Any = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    try:
        hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError:  # the registry reports it
        return {}
    converted = {name: with_floats(default, hints.get(name)) for name, default in whole.items()}
    return {name: value for name, value in converted.items() if value is not whole[name]}


def without_partials(maker: Any) -> Any:
    """Return the function or the class inside a `functools.partial`; any other constructor itself."""
    while isinstance(maker, functools.partial):
        maker = maker.func
    return maker


def with_floats(value: Any, annotation: Any) -> Any:  # noqa: PLR0911  one for each form
    """Return a default whose whole numbers are floats where the annotation demands floats."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return with_floats(value, args[0])
    if origin in (Union, types.UnionType):
        if type(value) is int and int in map(_without_metadata, args):
            return value
        changed = (with_floats(value, member) for member in args)
        return next((each for each in changed if each is not value), value)
    if annotation is float and type(value) is int:
        return float(value)
    if type(value) in (list, tuple) and args:
        is_record = origin is tuple and Ellipsis not in args and len(args) == len(value)
        members = args if is_record else repeat(args[0])
        return _if_changed(value, type(value)(map(with_floats, value, members)))
    if type(value) is dict and len(args) == len(("key", "value")):
        return _if_changed(value, {key: with_floats(item, args[1]) for key, item in value.items()})
    return value


def _without_metadata(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _if_changed(before: Any, after: Any) -> Any:
    """Return `before` itself if no item has changed, so that callers can compare identities."""
    return before if repr(before) == repr(after) else after
