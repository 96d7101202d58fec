"""docs/reference/api.md: every public name of `seqx`, from signatures, docstrings and comments."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import seqx
from docs.docstrings import markdown
from seqx.plugin.hooks import Events, seqx_html, seqx_register, seqx_run_ended

INTRODUCTION = """\
# Python API

All public names of `seqx`. Plugins import `seqx` and nothing below it, except `seqx.testing` in their tests.
Names that are not listed here may change without notice.

Letters in shapes: B sentences, S source tokens, T target tokens, D = `d_model`, H heads, K the width of a
head, V symbols of a vocabulary. A method marked *abstract* must be implemented; the others have a default.
A method marked *class method* is called on the class, as in `seqx.Layout.of(keep)`.
"""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Inference": ("seqx.inference",),
    "Networks": ("seqx.interfaces.networks", "seqx.interfaces.input_layer", "seqx.interfaces.slots"),
    "Batches, layouts and states": ("seqx.interfaces.tensors",),
    "Training and search": ("seqx.interfaces.learning", "seqx.training.chunked_loss"),
    "Data, tasks and metrics": (
        "seqx.interfaces.text",
        "seqx.interfaces.task",
        "seqx.interfaces.codec",
        "seqx.interfaces.starting_point",
        "seqx.tasks",
    ),
    "Scores, answers and mistakes": ("seqx.interfaces.scores", "seqx.interfaces.mistakes"),
    "Constraints": ("seqx.constraints",),
    "Exporters, importers and the descriptions that they read": ("seqx.interfaces",),
    "Parallel strategies": ("seqx.parallel",),
    "Runs": (
        "seqx.training",
        "seqx.run_record",
        "seqx.commands.recipe_run",
        "seqx.commands.recorded_answers",
        "seqx.commands.replay",
        "seqx.commands.replayed_update",
        "seqx.commands.trial",
        "seqx.storage.metrics_file",
    ),
    "Plugins": ("seqx.plugin", "seqx.errors"),
    "Commands, files and devices": ("seqx",),
}
"""Headings, each with the modules whose public names are listed below it; the first match counts."""

_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")


def api() -> str:
    """Return the page."""
    modules = _modules()
    lines = [INTRODUCTION]
    for title in GROUPS:
        names = sorted((name for name in modules if _group(modules[name]) == title), key=str.lower)
        lines += [f"## {title}", ""]
        for name in names:
            lines += [f"### `seqx.{name}`", "", *_entry(name, getattr(seqx, name), modules[name])]
    lines += ["## Hooks", "", *_function(seqx_register), *_function(seqx_run_ended), *_function(seqx_html)]
    lines += [
        *("## Events", ""),
        *("The events that a `seqx.Callback` may implement, each marked `@seqx.hookimpl`.", ""),
    ]
    for event in vars(Events).values():
        if inspect.isfunction(event):
            lines += _function(event)
    return "\n".join(lines).rstrip() + "\n"


def _function(function: Any) -> list[str]:
    return [f"### `{function.__name__}{_signature(function)}`", "", markdown(function.__doc__), ""]


def _modules() -> dict[str, str]:
    """Return the module of each public name, from the imports for type checkers in `seqx/__init__.py`."""
    tree = ast.parse(Path(seqx.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.asname == alias.name
    }


def _group(module: str) -> str:
    return next(
        title
        for title, prefixes in GROUPS.items()
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)
    )


def _entry(name: str, value: Any, module: str) -> Iterator[str]:
    if inspect.isclass(value) and value.__name__ == name:  # not an alias, such as State = Any
        yield from _class(value)
    elif inspect.isfunction(inspect.unwrap(value)) and value.__name__ == name:
        yield from (f"```text\n{name}{_signature(value)}\n```", "", markdown(value.__doc__), "")
    else:
        yield from (f"```text\n{name} = {_plain(value)}\n```", "", _attribute_doc(name, module), "")


def _class(cls: type) -> Iterator[str]:
    yield f"```text\nclass {cls.__name__}{_constructor(cls)}\n```\n"
    yield from (markdown(cls.__dict__.get("__doc__")), "")
    bases = [f"`seqx.{base.__name__}`" for base in cls.__bases__ if base.__name__ in seqx.__all__]
    if bases:
        yield f"Base class: {', '.join(bases)}.\n"
    fields, notes = inspect.get_annotations(cls), _notes(cls)
    documented = _argument_names(cls)
    rows = [
        f"| `{field}` | `{_plain(annotation).replace('|', chr(92) + '|')}` | {notes.get(field, '')} |"
        for field, annotation in fields.items()
        if not field.startswith("_") and field not in documented
    ]
    if rows:
        yield from ("| attribute | type | meaning |", "|---|---|---|", *rows, "")
    for name, member in vars(cls).items():
        if name.startswith("_") and name != "__call__":
            continue
        yield from _member(name, member)


def _member(name: str, member: Any) -> Iterator[str]:
    mark = ", *abstract*" if getattr(member, "__isabstractmethod__", False) else ""
    if isinstance(member, classmethod | staticmethod):
        member, mark = member.__func__, f"{mark}, *class method*"
    if isinstance(member, property):
        assert member.fget is not None
        annotation = _plain(inspect.signature(member.fget).return_annotation)
        title, doc = f"`{name}: {annotation}` (property){mark}", member.fget.__doc__
    elif inspect.isfunction(member):
        title, doc = f"`{name}{_signature(member)}`{mark}", member.__doc__
    else:
        return
    yield from (f"- {title}", "", textwrap.indent(markdown(doc), "  "), "")


def _constructor(cls: type) -> str:
    """Return the parameters; nothing for protocols, and if a parameter is private."""
    init = cls.__dict__.get("__init__") or cls.__dict__.get("__new__")
    if not inspect.isfunction(init) or "<lambda>" in str(init) or getattr(cls, "_is_protocol", False):
        return ""
    parameters = _signature(init).removesuffix(" -> None")
    return "" if re.search(r"[(, ]_\w+: ", parameters) else parameters


def _argument_names(cls: type) -> set[str]:
    """Return the names that the `Args:` section of a class explains, so that no table repeats them."""
    section = inspect.cleandoc(cls.__dict__.get("__doc__") or "").partition("\nArgs:\n")[2]
    return set(re.findall(r"^ {4}(\w+):", section, re.MULTILINE))


def _notes(cls: type) -> dict[str, str]:
    """Return the explanation of each attribute: the comment on its line, or the string below it."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:
        return {}
    return _explained(ast.parse(source).body[0].body, source)  # type: ignore[attr-defined]


def _attribute_doc(name: str, module: str) -> str:
    path = Path(seqx.__file__).parent.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    source = file.read_text(encoding="utf-8")
    return _explained(ast.parse(source).body, source).get(name, "")


def _explained(body: list[ast.stmt], source: str) -> dict[str, str]:
    lines, notes = source.splitlines(), dict[str, str]()
    for node, after in zip(body, [*body[1:], None], strict=True):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case ast.Assign(targets=[ast.Tuple(elts=elements)]):
                names = [ast.unparse(element) for element in elements]
            case ast.Assign(targets=[ast.Name(id=name)]):
                names = [name]
            case _:
                continue
        comment = lines[(node.end_lineno or node.lineno) - 1].partition("  # ")[2]
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            comment = " ".join(str(after.value.value).split())
        notes |= dict.fromkeys(names, re.sub(r"^(type: ignore|noqa)\S*\s*", "", comment))
    return notes


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [p for name, p in signature.parameters.items() if name not in ("self", "cls", "_cls")]
    return _plain(str(signature.replace(parameters=parameters)))


def _plain(annotation: Any) -> str:
    """Return an annotation or a signature without module names."""
    if not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    text = re.sub(r"Annotated\[([^\[\]]+(?:\[[^\[\]]*\])?), [^\]]*\]", r"\1", annotation)
    text = re.sub(r"<(?!/)[^<>]*(?:<[^<>]*>[^<>]*)*>", "...", text)  # defaults that have no literal
    return _MODULE.sub("", text.replace("collections.abc.", "")).replace("~", "")
