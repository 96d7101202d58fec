"""Read and merge YAML; each value keeps its location in a file.

Scalars follow the core schema of YAML 1.2, so `1e-4` is a number and `no` is a string. Trees are immutable.
"""

import functools
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from seqx.errors import COMMAND_LINE, Location, Problem, RecipeError, shortened
from seqx.storage.bounded_read import read_bounded

_MAX_DEPTH = 60  # levels of nesting
_MAX_NODES = 20_000  # before and after aliases are expanded
_MAX_BYTES = 1 << 20  # of a file
_MAX_DIGITS = 400  # of a number; the largest float has 309
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # line breaks of PyYAML
_INVALID = re.compile("[\0\ud800-\udfff]")  # YAML escapes can write these characters, but no UTF-8 file may
_RARE = re.compile("[\t!?%|>\x85\u2028\u2029\ufeff]")  # PyYAML and libyaml may read them differently
TAG_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a recipe with its location; `keys` has the locations of a mapping's keys."""

    value: "bool | int | float | str | list[Node] | dict[str, Node] | None"
    at: Location
    keys: Mapping[str, Location] = field(default_factory=dict)

    @property
    def type(self) -> str | None:
        """The name of a component, a bare string or the `type` of a mapping; None if there is none."""
        if isinstance(self.value, str):
            return self.value
        named = self.value.get("type") if isinstance(self.value, dict) else None
        return named.value if named is not None and isinstance(named.value, str) else None

    def plain(self) -> Any:
        """Return the value without locations."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


def read(path: Path, problems: list[Problem] | None = None) -> Node:
    """Read a file.

    Args:
        path: the file
        problems: problems that do not prevent reading, such as a repeated key, are added to it; None: they
            are raised

    Raises:
        RecipeError: the file cannot be read, or is not valid YAML
    """
    source = str(path)
    try:
        data = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        message = "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise RecipeError([Problem(Location(source, 1, 1), message)]) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        decoded = data[: error.start].decode("utf-8-sig", errors="replace")
        at = _location_at(source, decoded, len(decoded))
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file in that encoding"
        raise RecipeError([Problem(at, message)]) from error
    return parse(text, source, problems)


def read_yaml(path: Path) -> Any:
    """Return the plain values of a YAML file, with the scalars of YAML 1.2.

    Raises:
        RecipeError: the file cannot be read, or is not valid YAML
    """
    return read(path).plain()


def parse(text: str, source: str, problems: list[Problem] | None = None) -> Node:
    """Return the tree of a text; an empty text is null. See `read` for `problems` and errors."""
    tree, found = _tree(text, source)
    if problems is not None:
        problems += found
    elif found:
        raise RecipeError(found)
    return tree


@functools.lru_cache(maxsize=64)
def _tree(text: str, source: str) -> tuple[Node, list[Problem]]:
    """Return the tree of a text, with its problems, from a cache, because a run reads its files repeatedly.

    Raises:
        RecipeError: the text is not valid YAML
    """
    lines = _BREAK.split(text)
    try:
        root = _compose(text)
    except yaml.reader.ReaderError as error:
        at = _location_at(source, text, int(error.position))
        message = f"YAML does not allow the character {error.character!r}; remove it"
        raise RecipeError([Problem(at, message)]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = _location(source, lines, mark) if mark else Location(source, 1, 1)
        tab = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        message = f"not valid YAML: {shortened(str(error.problem or error.context), 200)}{tab}"
        raise RecipeError([Problem(at, message)]) from error
    if root is None:
        return Node(None, Location(source, 1, 1)), []
    reader = _Reader(source, lines)
    return reader.node(root, 0), reader.problems


def _compose(text: str) -> yaml.Node | None:
    """Return PyYAML's graph of a text.

    Raises:
        yaml.YAMLError: the text is not valid YAML
    """
    root: yaml.Node | None
    if not _RARE.search(text):
        with suppress(yaml.YAMLError, ValueError, OverflowError):  # `_Loader` reads it again
            root = _FastLoader(text).get_single_node()
            return root
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    except (ValueError, OverflowError) as error:  # PyYAML's scanner does not check version and escape numbers
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=loader.get_mark()) from error
    return root


def _location_at(source: str, text: str, position: int) -> Location:
    lines = _BREAK.split(text[:position])
    whole = _BREAK.split(text)
    return Location(source, len(lines), len(lines[-1]) + 1, whole[len(lines) - 1])


def _location(source: str, lines: list[str], mark: yaml.Mark) -> Location:
    text = lines[mark.line] if mark.line < len(lines) else ""
    return Location(source, mark.line + 1, mark.column + 1, text)


class _Composer:
    """The scalars of YAML 1.2, and limits of nodes and levels. `_Reader` counts the nodes of aliases."""

    depth = count = 0
    peek_event: Callable[[], Any]

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """Return the tag of a node without an explicit one."""
        return resolved_tag(kind, value, implicit)

    def descend_resolver(self, *_: object) -> None:
        """Count a node before it is composed. The depth is limited, because loaders recurse."""
        if self.depth > _MAX_DEPTH:
            self._refuse(f"nested more than {_MAX_DEPTH} levels deep")
        self.depth += 1
        self.count += 1
        if self.count > _MAX_NODES:
            self._refuse(f"more than {_MAX_NODES:,} values")

    def ascend_resolver(self) -> None:
        """Leave the level of a node after it was composed."""
        self.depth -= 1

    def _refuse(self, problem: str) -> None:
        raise yaml.composer.ComposerError(None, None, problem, self.peek_event().start_mark)


class _Loader(_Composer, yaml.SafeLoader):
    """PyYAML's own loader, of which only the composer is used."""


class _FastLoader(_Composer, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's loader, with libyaml if it is installed.

    It returns the same nodes as `_Loader`, or refuses a text that `_Loader` may be able to read.
    """

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """Return the tag of a node without an explicit one.

        Raises:
            YAMLError: the node is an empty scalar, for which libyaml and PyYAML report different places
        """
        if value == "" and implicit[0]:
            raise yaml.YAMLError("an empty scalar")
        return super().resolve(kind, value, implicit)


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_CORE: list[tuple[str, re.Pattern[str], Callable[[str], Any]]] = [
    ("null", re.compile(r"null|Null|NULL|~|"), lambda _: None),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), lambda word: word.lower() == "true"),
    ("int", re.compile(r"[-+]?[0-9]+"), int),
    ("int", re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda word: int(word, 0)),
    ("float", re.compile(_FLOAT), float),
    (
        "float",
        re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"),
        lambda word: float(word.replace(".", "")),
    ),
]


def resolved_tag(kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
    """Return the tag of a node without an explicit one, by the core schema of YAML 1.2.

    Args:
        kind: PyYAML's class of the node
        value: the text of a scalar
        implicit: PyYAML's pair of flags; the first one is true for a plain scalar, without quotes
    """
    if kind is yaml.SequenceNode:
        return TAG_PREFIX + "seq"
    if kind is yaml.MappingNode:
        return TAG_PREFIX + "map"
    return TAG_PREFIX + (_kind_of_plain(value) if implicit[0] and value is not None else "str")


@functools.lru_cache(maxsize=4096)
def _kind_of_plain(word: str) -> str:
    """Return the kind of a scalar without quotes, from a cache: most are keys, which occur repeatedly."""
    return next((name for name, pattern, _ in _CORE if pattern.fullmatch(word)), "str")


def _text(word: str) -> str:
    if invalid := _INVALID.search(word):
        raise ValueError(f"a recipe cannot contain the character U+{ord(invalid[0]):04X}; remove it")
    return word


def _scalar(tag: str, word: str) -> Any:
    if tag == TAG_PREFIX + "str":
        return word
    for name, pattern, convert in _CORE:
        if tag == TAG_PREFIX + name and pattern.fullmatch(word):
            if len(word) > _MAX_DIGITS:
                raise ValueError(f"this number has {len(word):,} characters; the maximum is {_MAX_DIGITS}")
            return convert(word)
    shown_tag = shortened(tag.removeprefix(TAG_PREFIX))
    raise ValueError(f"the tag {shown_tag!r} of {shortened(word)!r} is not supported; remove it")


class _Reader:
    """Converts PyYAML's graph, in which aliases share nodes, to a tree of limited size."""

    def __init__(self, source: str, lines: list[str]) -> None:
        self.source, self.lines = source, lines
        self.problems: list[Problem] = []
        self.count = 0

    def node(self, raw: yaml.Node, depth: int) -> Node:
        at = _location(self.source, self.lines, raw.start_mark)
        self.count += 1
        if self.count > _MAX_NODES or depth > _MAX_DEPTH:
            limits = f"{_MAX_NODES:,} values or {_MAX_DEPTH} levels"
            raise RecipeError([Problem(at, f"aliases expand to more than {limits} here; use fewer aliases")])
        if isinstance(raw, yaml.MappingNode) and raw.tag == TAG_PREFIX + "map":
            return self.mapping(raw, at, depth)
        if isinstance(raw, yaml.SequenceNode) and raw.tag == TAG_PREFIX + "seq":
            return Node([self.node(item, depth + 1) for item in raw.value], at)
        try:
            return Node(_scalar(raw.tag, _text(raw.value) if isinstance(raw.value, str) else "..."), at)
        except ValueError as error:
            self.problems.append(Problem(at, str(error)))
            return Node(None, at)

    def mapping(self, raw: yaml.MappingNode, at: Location, depth: int) -> Node:
        value: dict[str, Node] = {}
        keys: dict[str, Location] = {}
        for key, child in raw.value:
            where = _location(self.source, self.lines, key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or _INVALID.search(key.value):
                self.problems.append(Problem(where, "a key must be a string without NUL and surrogates"))
            elif key.value in keys:
                name, before = shortened(key.value), keys[key.value]
                place = "" if self.source == COMMAND_LINE else f" at {before}"
                self.problems.append(Problem(where, f"{name!r} is already set{place}; keep one of them"))
            else:
                keys[key.value] = where
                value[key.value] = self.node(child, depth + 1)
        return Node(value, at, keys)


def merge(base: Node, over: Node) -> Node:
    """Return `base` with `over` merged into it.

    Mappings are merged key by key; anything else is replaced, and so is a component of another `type`. The
    bare name of a component counts as a mapping with that `type`.
    """
    old, new = base.value, over.value
    if isinstance(old, str) and isinstance(new, dict):
        base = _as_mapping(base)
    elif isinstance(old, dict) and isinstance(new, str) and base.type is not None:
        over = _as_mapping(over)
    old, new = base.value, over.value
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return over
    if base.type is not None and over.type is not None and base.type != over.type:
        return over
    value = dict(old)
    for key, child in new.items():
        value[key] = merge(old[key], child) if key in old else child
    return Node(value, over.at if new else base.at, {**base.keys, **over.keys})


def _as_mapping(node: Node) -> Node:
    return Node({"type": node}, node.at, {"type": node.at})


def with_profile(node: Node, name: str) -> Node:
    """Return the tree with each location marked as belonging to a profile."""
    return with_changed_locations(node, lambda at: replace(at, profile=name))


def with_changed_locations(node: Node, change: Callable[[Location], Location]) -> Node:
    """Return the tree with `change` applied to all locations."""
    value = node.value
    if isinstance(value, dict):
        value = {key: with_changed_locations(child, change) for key, child in value.items()}
    elif isinstance(value, list):
        value = [with_changed_locations(child, change) for child in value]
    return Node(value, change(node.at), {key: change(at) for key, at in node.keys.items()})


def as_node(plain: Any, at: Location) -> Node:
    """Return the tree of plain values, all at one location."""
    if isinstance(plain, Mapping):
        return Node({key: as_node(value, at) for key, value in plain.items()}, at, dict.fromkeys(plain, at))
    return Node([as_node(item, at) for item in plain] if isinstance(plain, list) else plain, at)
