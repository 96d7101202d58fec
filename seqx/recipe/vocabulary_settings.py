"""Compare the settings of a task with those that determined the vocabulary of a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from seqx.errors import Location, Problem
from seqx.interfaces.codec import Codec
from seqx.plugin.registry import settings_of
from seqx.recipe.configured import NOT_EXPRESSIBLE, Configured, Value
from seqx.recipe.differences import NOT_SET


@dataclass(frozen=True)
class VocabularySettings:
    """The settings that determine the vocabulary of a model. A task that uses the vocabulary must have them.

    Args:
        model: the name of the model in messages
        alternative: the end of each message, after the advice "write ...", such as ", or leave ... out"
        extends: the task extends the vocabulary
    """

    model: str
    alternative: str = ""
    extends: bool = False

    def problems(self, task: Configured[Any], model_task: Any) -> Iterator[Problem]:
        """Yield a problem for each setting of the task that does not fit the vocabulary.

        Args:
            task: the checked task of the recipe
            model_task: the task of the model, as plain values
        """
        yield from self._compare_codecs(task, model_task, task.path)

    def _compare_codecs(self, configured: Configured[Any], in_model: Any, path: str) -> Iterator[Problem]:
        """Compare the codecs of a component with those of the model's component, which are plain values."""
        is_same_type = _type(in_model) == _name(configured)
        annotations = {name: setting.annotation for name, setting in settings_of(configured.maker).items()}
        for name, item in configured.settings.items():
            model_value = _setting(in_model, name)
            if names_interface(annotations[name], Codec):
                if model_value != NOT_SET or item.at is not None or not is_same_type:
                    yield from self._compare(item, model_value, f"{path}.{name}", configured.at_or_parent)
            elif isinstance(item, Configured):
                yield from self._compare_codecs(item, model_value, f"{path}.{name}")

    def _compare(self, item: Value, in_model: Any, path: str, parent: Location) -> Iterator[Problem]:
        """Compare a setting that determines the vocabulary; `parent` is the location of its parent."""
        if isinstance(item, Configured) and _type(in_model) == _name(item):
            adjustable: frozenset[str] = getattr(item.maker, "adjustable", frozenset())
            for name, inner in item.settings.items():
                model_value = _setting(in_model, name)
                if (
                    self.extends
                    and name in getattr(item.maker, "extendable", ())
                    and _adds(inner, model_value)
                ):
                    continue
                # A setting that the model's version of seqx did not have differs only if the recipe sets it.
                if name not in adjustable and (model_value != NOT_SET or inner.at is not None):
                    yield from self._compare(inner, model_value, f"{path}.{name}", item.at_or_parent)
        elif (recipe_value := item.plain()) is not NOT_EXPRESSIBLE and recipe_value != in_model:
            type_at = item.type_at if isinstance(item, Configured) else None
            yield Problem(type_at or item.at or parent, self._message(path, recipe_value, in_model))

    def _message(self, path: str, in_recipe: Any, in_model: Any) -> str:
        name = path.rpartition(".")[2]
        learned = "without it" if in_model == NOT_SET else f"with {_short_text(in_model)}"
        write = f"leave {name} out" if in_model == NOT_SET else f"write {name}: {_yaml_line(in_model)}"
        return (
            f"{path}: {_short_text(in_recipe)} does not fit the vocabulary of the model in {self.model}, "
            f"which was learned {learned}; {write}{self.alternative}"
        )


def _adds(item: Value, in_model: Any) -> bool:
    """Return true if a list has all values that it has in the model."""
    return in_model == NOT_SET or {*in_model} <= {*item.plain()}


def names_interface(annotation: Any, interface: type) -> bool:
    """Return true if the annotation of a setting contains an interface or a subclass of it."""
    if isinstance(annotation, type) and issubclass(annotation, interface):
        return True
    return any(names_interface(part, interface) for part in get_args(annotation))


def _name(configured: Configured[Any]) -> str | None:
    return None if configured.component is None else configured.component.name


def _type(plain: Any) -> Any:
    """Return the `type` of a component, which is passed as plain values."""
    return plain.get("type") if isinstance(plain, Mapping) else plain


def _setting(plain: Any, name: str) -> Any:
    return plain.get(name, NOT_SET) if isinstance(plain, Mapping) else NOT_SET


def _short_text(plain: Any) -> str:
    """Return the name of a component, or the text of any other value."""
    return _yaml_line(_type(plain) if isinstance(plain, Mapping) and "type" in plain else plain)


def _yaml_line(plain: Any) -> str:
    """Return a value as YAML on one line."""
    if plain == NOT_SET:
        return NOT_SET
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()
