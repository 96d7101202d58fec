"""The templates of plugins: a component and a recipe for each interface, and the files of a package.

A plugin that defines interfaces has templates for them in its folder `templates`, which has the same folders
as `seqx/templates`: `components/INTERFACE.py`, `recipes/INTERFACE.yaml`, and `laws/INTERFACE.py` if the tests
of the laws need more than the component.
"""

import keyword
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from seqx.errors import UserError
from seqx.plugin.installed import PLUGIN_GROUP, entry_points, origin
from seqx.plugin.loading import Plugins, package_path

_FOLDER = Path(__file__).parents[1] / "templates"


def _plugin_folders() -> Iterator[Path]:
    """Yield the folders of installed plugins that may have templates, without importing the plugins."""
    for package in sorted({entry.module.partition(".")[0] for entry in entry_points(group=PLUGIN_GROUP)}):
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(place, "templates")


def _template_files(folder_name: str, suffix: str) -> Mapping[str, Path]:
    """Return the templates in folders of this name, by interface; those of seqx replace those of plugins."""
    folders = [parent / folder_name for parent in (_FOLDER, *_plugin_folders())]
    found = {path.stem: path for folder in reversed(folders) for path in folder.glob(f"*{suffix}")}
    return dict(sorted(found.items()))


_COMPONENTS, _LAWS = _template_files("components", ".py"), _template_files("laws", ".py")
_RECIPES = _template_files("recipes", ".yaml")
PLACEHOLDER = "newcomer"  # the name of the plugin in the templates
COMMAND = "command"
"""The template of a plugin with a command, which has no component."""

INTERFACES = [*_COMPONENTS]
RECIPES = [*_RECIPES]
"""The interfaces that have a recipe which trains with the component of the template."""

IN_RECIPES = [*RECIPES, "input_layer"]
"""The interfaces whose components recipes name, so that a file is enough; others need an installed plugin."""

EXAMPLE_COMMENT = "This code is an example: replace it and its docstring with your own {name}"
"""The comment at the beginning of the Python file of a new component or command."""

_REGISTERED_AS = {"generator": "Model", "slots": "Model", "grammar": "Task"}
"""The interface of the component in a template, by the name of the template, if the two names differ."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,38}[a-z0-9]")
_RESERVED = {"null", "seqx"}  # YAML reads null as no value; a package seqx_seqx would be confusing


def component_text(interface: str, name: str) -> str:
    """Return the Python text of a plugin with one component."""
    return _text_with_name(_COMPONENTS[interface], name)


def recipe_text(interface: str, name: str, plugin: str | None) -> str:
    """Return a recipe that trains with the component.

    Args:
        interface: one of `RECIPES`
        name: the name of the component
        plugin: the file of the plugin; None: the plugin is installed
    """
    text = _text_with_name(_RECIPES[interface], name)
    parent = "" if text.startswith("extends:") else "extends: quickstart\n"
    head, _, rest = f"{parent}{text}".partition("\n")
    return "\n".join([head, *([f"plugins: [./{plugin}]"] if plugin else []), rest])


def package_texts(interface: str, name: str) -> Mapping[str, str]:
    """Return the files of a package with the component: path to text."""
    folder = _FOLDER / "plugin"
    sources = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    texts = {_path(path.relative_to(folder), name): _text_with_name(path, name) for path in sources}
    if interface in _LAWS:
        texts["tests/test_laws.py"] = _text_with_name(_LAWS[interface], name)
    if interface in RECIPES:
        texts[f"recipes/{name}.yaml"] = recipe_text(interface, name, None)
    else:
        texts["README.md"] = re.sub(r".*recipes/.*\n", "", texts["README.md"])
    if interface == COMMAND:
        texts["tests/test_command.py"] = texts.pop("tests/test_laws.py")
        texts["README.md"] = texts["README.md"].replace(
            "test_laws.py` | tests of the laws of its interface", "test_command.py` | its tests"
        )
        texts["README.md"] = texts["README.md"].replace(
            "the component; `seqx_register` registers it", "the command"
        )
        entry = f'[project.entry-points."seqx.commands"]\n{name} = "seqx_{name}:{name}"\n'
        texts["pyproject.toml"] = re.sub(
            r"\[project\.entry-points\.seqx\]\n.*\n", entry, texts["pyproject.toml"]
        )
    code = f"# {EXAMPLE_COMMENT.format(name=name)}.\n{component_text(interface, name)}"
    return {**texts, f"seqx_{name}/__init__.py": code}


def camel_case(name: str) -> str:
    """Return the name of a class for the name of a component."""
    return "".join(word.capitalize() for word in name.split("_"))


def check_name(name: str, plugins: Plugins, *, module: str, interface: str | None = None) -> None:
    """Check that a plugin or a component may have this name.

    Args:
        name: the name
        plugins: the installed plugins
        module: the Python module that would be written
        interface: the template of a component; None: no component of any interface may have the name

    Raises:
        UserError: it is not a valid name, or a plugin, a component or a module has it
    """
    if not _is_valid(name):
        similar = re.sub(r"\W+", "_", name.lower()).strip("_0123456789")
        hint = f"; for example, {similar!r} is valid" if _is_valid(similar) else ""
        raise UserError(
            f"{name!r} cannot be the name of a plugin: it needs 2 to 40 lowercase letters, digits and "
            "underscores, begins with a letter, does not end with an underscore, and is neither a keyword of "
            f"Python or YAML nor seqx{hint}"
        )
    for entry in entry_points(group=PLUGIN_GROUP):
        if entry.name == name:
            raise UserError(
                f"a plugin called {name!r} is installed, from {origin(entry)[1]}; choose another name"
            )
    if package_path(module) is not None:
        raise UserError(f"a package called {module} is installed; choose another name")
    for cls in plugins.registry.interfaces():
        title = cls.__name__
        if interface is not None and title != _REGISTERED_AS.get(interface, camel_case(interface)):
            continue
        if component := plugins.registry.components(cls).get(name):
            article = "an" if title[0] in "AEIOU" else "a"
            raise UserError(
                f"plugin {component.plugin!r} has {article} {title} called {name!r}; choose another name"
            )


def _is_valid(name: str) -> bool:
    identifiers = (name, camel_case(name))  # of the package, and of the class
    is_keyword = any(map(keyword.iskeyword, identifiers))
    return bool(_NAME.fullmatch(name)) and name not in _RESERVED and not is_keyword


def _path(path: Path, name: str) -> str:
    return str(path).replace(PLACEHOLDER, name)


def _text_with_name(file: Path, name: str) -> str:
    text = file.read_text(encoding="utf-8").replace(PLACEHOLDER, name)
    return text.replace(camel_case(PLACEHOLDER), camel_case(name))
