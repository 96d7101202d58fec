"""Convert whole numbers that are defaults of `float` settings, as in the values of recipes."""

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


def convert_whole_defaults(maker: Callable[..., Any]) -> None:
    """Replace whole numbers by floats in the defaults of the `float` settings of a constructor.

    Python accepts `start: float = 10`, but torch makes a tensor of integers of this default. The defaults
    are replaced where Python reads them. So they are the same in recipes, in laws and in code.
    """
    *partials, constructor = _layers(maker)
    function: Any = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    function = inspect.unwrap(function)
    tables = [getattr(function, "__kwdefaults__", None) or {}, *(each.keywords for each in partials)]
    if not any(type(default) in (int, list, tuple, dict) for table in tables for default in table.values()):
        return
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # the registry reports it
        return
    for table in tables:
        table.update({name: _with_floats(default, hints.get(name)) for name, default in table.items()})


def _layers(maker: Any) -> Iterator[Any]:
    """Yield the partials around a constructor, then the constructor."""
    while isinstance(maker, functools.partial):
        yield maker
        maker = maker.func
    yield maker


def _with_floats(value: Any, annotation: Any) -> Any:  # noqa: PLR0911  one for each form
    """Return a default whose whole numbers are floats where the annotation demands floats."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _with_floats(value, args[0])
    if origin in (Union, types.UnionType):
        if type(value) is int and int in map(_without_metadata, args):
            return value
        changed = (_with_floats(value, member) for member in args)
        return next((each for each in changed if each is not value), value)
    if annotation is float and type(value) is int:
        return float(value)
    if type(value) in (list, tuple) and args:
        is_record = origin is tuple and Ellipsis not in args and len(args) == len(value)
        members = args if is_record else repeat(args[0])
        return _if_changed(value, type(value)(map(_with_floats, value, members)))
    if type(value) is dict and len(args) == len(("key", "value")):
        return _if_changed(value, {key: _with_floats(item, args[1]) for key, item in value.items()})
    return value


def _without_metadata(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _if_changed(before: Any, after: Any) -> Any:
    """Return `before` itself if no item has changed, so that callers can compare identities."""
    return before if repr(before) == repr(after) else after
