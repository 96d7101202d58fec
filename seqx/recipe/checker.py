"""Check a recipe against the signatures of constructors, and report all problems at once."""

import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from seqx.errors import COMMAND_LINE, Location, Problem, RecipeError, joined_alternatives, shortened
from seqx.plugin.registry import Registry, Setting, provided_parameters, renamed_settings, section_settings
from seqx.recipe import unknown_setting
from seqx.recipe.annotations import (
    ComponentShape,
    LeafShape,
    ListShape,
    MapShape,
    SectionShape,
    Shape,
    UnionShape,
    adapter,
    shape,
)
from seqx.recipe.configured import Collection, Configured, PlainValue, Value
from seqx.recipe.defaults import Defaults
from seqx.recipe.missing_component import advice
from seqx.recipe.renamed import is_stored, with_new_names, with_new_value
from seqx.recipe.suggestions import hint, nearest
from seqx.recipe.yaml_tree import Node, as_node, merge
from seqx.recipe.yaml_writer import dump

T = TypeVar("T")

_MAX_PATH = 200  # characters of a path in a message


def check(
    node: Node, registry: Registry, root: Callable[..., T], problems: Sequence[Problem] = ()
) -> Configured[T]:
    """Return the checked recipe: `root` with its settings.

    Args:
        node: the merged tree of the recipe
        registry: the components that the recipe may name
        root: the constructor of the whole experiment
        problems: problems that were found when the recipe was read; they are reported, too

    Raises:
        RecipeError: the recipe has problems
    """
    checker = _Checker(registry, Defaults(registry), [*problems], _file(node))
    if not isinstance(node.value, dict):
        message = "a recipe must be a mapping; `seqx show wmt_en_de` prints one"
        raise RecipeError([*problems, Problem(node.at, message)])
    checked = checker.root(node, root)
    if checker.problems:
        raise RecipeError(checker.problems)
    return checked


def with_current_names(stored: Node, registry: Registry, root: Callable[..., Any]) -> Any:
    """Return a stored recipe as plain values; the old names of settings are replaced by the current ones.

    Settings of components that the registry does not have keep the stored names.

    Args:
        stored: the recipe as it was read
        registry: the components of the installed plugins
        root: the constructor of the whole experiment
    """
    checked = _Checker(registry, Defaults(registry), [], _file(stored)).root(stored, root)
    return with_new_names(stored.plain(), checked)


@dataclass(frozen=True)
class _Constructor:
    """A constructor, with its name in messages."""

    maker: Callable[..., Any]
    settings: Mapping[str, Setting]
    name: str | None = None

    @property
    def title(self) -> str:
        return self.name or "this section"


_FAILED = PlainValue(None, None, None)  # the value of a setting with a problem


@dataclass(frozen=True)
class _Checker:
    """Checks a tree against shapes, and collects the problems."""

    registry: Registry
    defaults: Defaults
    problems: list[Problem]
    source: str  # the file of the recipe, or another source

    def problem(self, at: Location, path: str, message: str) -> PlainValue:
        self.problems.append(Problem(at, f"{shortened(path, _MAX_PATH) or 'recipe'}: {message}"))
        return _FAILED

    def root(self, node: Node, root: Callable[..., T]) -> Configured[T]:
        settings = self.settings(node, _Constructor(root, section_settings(root)), "")
        return Configured(root, None, settings, node.at, node.at, "")

    def value(self, node: Node, wanted: Shape, path: str) -> Value:
        match wanted:
            case ComponentShape():
                return self.component(node, wanted, path)
            case SectionShape():
                return self.section(node, wanted, path)
            case ListShape():
                return self.items(node, wanted, path)
            case MapShape():
                return self.mapping(node, wanted, path)
            case UnionShape():
                return self.union(node, wanted, path)
            case LeafShape():
                return self.leaf(node, wanted, path)

    def component(self, node: Node, wanted: ComponentShape, path: str) -> Value:
        interface = wanted.interface.__name__
        known = self.registry.components(wanted.interface)
        if not isinstance(node.value, str | dict):
            return self.problem(node.at, path, f"{_article(interface)} is required, found {_shown(node)}")
        name_node = node.value.get("type") if isinstance(node.value, dict) else node
        if name_node is None:
            return self.problem(
                node.at, path, f"the name of the {interface} is missing; add 'type: NAME'{hint('', known)}"
            )
        if not isinstance(name_node.value, str):
            return self.problem(name_node.at, path, f"'type' must be the name of {_article(interface)}")
        component = known.get(name_node.value)
        if component is None:
            return self.problem(
                name_node.at,
                path,
                f"no {interface} is called {shortened(name_node.value)!r}"
                f"{advice(name_node.value, [*known], self.registry, self.source)}",
            )
        constructor = _Constructor(component.maker, component.settings, component.name)
        settings = self.settings(node, constructor, path)
        return Configured(
            component.maker, component, settings, node.at, node.at, path, wanted.deferred, name_node.at
        )

    def section(self, node: Node, wanted: SectionShape, path: str) -> Value:
        if not isinstance(node.value, dict):
            return self.problem(node.at, path, f"a mapping of settings is required, found {_shown(node)}")
        constructor = _Constructor(wanted.cls, section_settings(wanted.cls))
        return Configured(wanted.cls, None, self.settings(node, constructor, path), node.at, node.at, path)

    def settings(self, node: Node, constructor: _Constructor, path: str) -> dict[str, Value]:
        """Check the settings of a constructor in a mapping; a bare name has none."""
        written = dict(node.value) if isinstance(node.value, dict) else {}
        if constructor.name is not None:
            written.pop("type", None)
        written, renamed = self.renamed(written, node, constructor, path)
        unknown = [key for key in written if key not in constructor.settings]
        misspelt = {nearest(key, constructor.settings) for key in unknown}
        values: dict[str, Value] = {}
        for name, setting in constructor.settings.items():
            setting_path = f"{path}.{name}".removeprefix(".")
            wanted = shape(setting.annotation, self.registry)
            if name in renamed and not isinstance(written[name].value, dict | list):
                values[name] = _FAILED  # one problem is enough: its values may have changed, too
            elif name in written:
                values[name] = self.value(written[name], wanted, setting_path)
            elif not setting.required:
                values[name] = self.defaults.value(setting.default, wanted, node.at, setting_path)
            elif name not in misspelt:
                note = f" ({setting.help})" if setting.help else ""
                self.problem(node.at, path, f"{constructor.title} needs {name!r}{note}")
        for key in unknown:
            self.problem(node.keys[key], path, _unknown(key, constructor, values, path))
        return values

    def renamed(
        self, written: dict[str, Node], node: Node, constructor: _Constructor, path: str
    ) -> tuple[dict[str, Node], set[str]]:
        """Replace old names of settings; report them, unless seqx stored the recipe (see `renamed`).

        Returns:
            the settings with new names, and the new names of the reported ones
        """
        renamed = renamed_settings(constructor.maker)
        result: dict[str, Node] = {}
        reported: set[str] = set()
        for old in written.keys() & renamed.keys():
            before = written[old].plain()
            now = with_new_value(constructor.maker, old, before)
            result[renamed[old]] = written[old] if now == before else as_node(now, written[old].at)
            if not is_stored(node.keys[old].source):
                message = f"{old} is now called {renamed[old]}"
                if now != before:
                    message = f"{old}: {before} is now written {renamed[old]}: {dump(now, flow=True)}"
                self.problem(node.keys[old], path, message)
                reported.add(renamed[old])
        for key in written.keys() - renamed.keys():  # a stored recipe with an override may have both names
            result[key] = merge(result[key], written[key]) if key in result else written[key]
        return result, reported

    def items(self, node: Node, wanted: ListShape, path: str) -> Value:
        if not isinstance(node.value, list):
            return self.problem(node.at, path, f"a list is required, found {_shown(node)}")
        items = [self.value(item, wanted.inner, f"{path}.{i}") for i, item in enumerate(node.value)]
        return Collection(items, wanted.container, node.at)

    def mapping(self, node: Node, wanted: MapShape, path: str) -> Value:
        if not isinstance(node.value, dict):
            return self.problem(node.at, path, f"a mapping is required, found {_shown(node)}")
        items = {key: self.value(item, wanted.inner, f"{path}.{key}") for key, item in node.value.items()}
        return Collection(items, dict, node.at)

    def union(self, node: Node, wanted: UnionShape, path: str) -> Value:
        """Check a value against the first member of a union that has the same shape."""
        components = [choice for choice in wanted.choices if isinstance(choice, ComponentShape)]
        if isinstance(node.value, list):
            fitting: list[Shape] = [choice for choice in wanted.choices if isinstance(choice, ListShape)]
        elif isinstance(node.value, dict) and (node.type is None or not components):
            fitting = [
                choice for choice in wanted.choices if isinstance(choice, SectionShape | MapShape)
            ] or [*components]
        elif node.type is not None:
            fitting = [part for part in components if node.type in self.registry.components(part.interface)]
            # A bare name without a component of that name is an error, unless the union also has strings.
            leaf_annotation = (
                isinstance(node.value, str) and wanted.leaf is not None and wanted.leaf.annotation
            )
            if not fitting and leaf_annotation in (None, False, types.NoneType):
                fitting = [*components]
        else:
            fitting = []
        if fitting:
            return self.value(node, fitting[0], path)
        if wanted.leaf is not None and (wanted.leaf.annotation is not types.NoneType or node.value is None):
            return self.leaf(node, wanted.leaf, path)
        return self.value(node, wanted.choices[0], path)

    def leaf(self, node: Node, wanted: LeafShape, path: str) -> Value:
        reader = adapter(wanted.annotation)
        try:
            content = reader.validate_json(json.dumps(node.plain()), strict=True)
        except ValidationError as error:
            for inner, inner_path, message in _pydantic_errors(error, node, path):
                self.problem(inner.at, inner_path, f"{message}, found {_shown(inner)}")
            return _FAILED
        return PlainValue(content, reader.dump_python(content, mode="json"), node.at)


def _file(node: Node) -> str:
    """Return the file of a recipe; its root has another location if the command line changes a setting."""
    sources = [node.at.source, *(at.source for at in node.keys.values())]
    return next((source for source in sources if source != COMMAND_LINE), "")


def _unknown(key: str, constructor: _Constructor, values: Mapping[str, Value], path: str) -> str:
    if key in provided_parameters(constructor.maker):
        return f"{constructor.title} gets {shortened(key)!r} from its parent; leave it out"
    hint = unknown_setting.advice(
        key, constructor.settings, path=path, inside=values, maker=constructor.maker
    )
    return f"{constructor.title} has no setting {shortened(key)!r}{hint}"


def _pydantic_errors(error: ValidationError, node: Node, path: str) -> list[tuple[Node, str, str]]:
    """Return pydantic's errors as (innermost node, its path, message); all messages of a node are joined."""
    by_node: dict[tuple[Location, str], tuple[Node, list[str]]] = {}
    for detail in error.errors(include_url=False):
        inner, inner_path = node, path
        for step in detail["loc"]:
            value = inner.value
            if isinstance(value, list) and isinstance(step, int) and step < len(value):
                inner, inner_path = value[step], f"{inner_path}.{step}"
            elif isinstance(value, dict) and step in value:
                inner, inner_path = value[str(step)], f"{inner_path}.{step}"
        missing = detail["type"] == "missing"
        message = (
            f"item {detail['loc'][-1]} is missing" if missing else detail["msg"].removeprefix("Value error, ")
        )
        messages = by_node.setdefault((inner.at, inner_path), (inner, []))[1]
        if message not in messages:
            messages.append(message)
    return [
        (inner, inner_path, joined_alternatives(messages))
        for (_, inner_path), (inner, messages) in by_node.items()
    ]


def _shown(node: Node) -> str:
    plain = node.plain()
    text = repr(plain) if not isinstance(plain, dict | list) else json.dumps(plain, ensure_ascii=False)
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return shortened(text, 60)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"
