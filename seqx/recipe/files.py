"""Read a recipe, and merge its parents, a profile and overrides into one tree."""

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from seqx.errors import COMMAND_LINE, Location, Problem, RecipeError, UserError, shortened
from seqx.recipe import yaml_tree
from seqx.recipe.overrides import override
from seqx.recipe.suggestions import hint
from seqx.recipe.yaml_tree import Node

_SUFFIXES = (".yaml", ".yml", ".json")
_FILE_KEYS = ("extends", "profiles", "plugins")  # keys of a recipe file that are not settings


@dataclass(frozen=True)
class Recipe:
    """A recipe with its parents, profile and overrides merged.

    Args:
        tree: the merged tree, without `extends`, `profiles` and `plugins`
        files: the file of the recipe, then those of its parents
        plugins: the files of its local plugins, with the locations in the recipe that name them
        profiles: the names of its profiles
    """

    tree: Node
    files: Sequence[Path]
    plugins: Mapping[Path, Location]
    profiles: Sequence[str]

    @property
    def name(self) -> str:
        """The name of an included recipe, such as `table3/base`; for any other recipe, that of its file."""
        own = self.files[0]
        return next((name for name, path in included_recipes().items() if path.samefile(own)), own.stem)


@cache
def included_recipes() -> Mapping[str, Path]:
    """Return the files of the recipes that are included in seqx, by name; a subfolder is part of the name."""
    package = Path(__file__).parents[1]
    folders = [package / "recipes", package.parent / "recipes"]  # in an installation, in a checkout
    if not (package.parent / "pyproject.toml").is_file():
        folders.pop()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.rglob("*.yaml"))
    }


def load(
    recipe: str | Path,
    profile: str | None = None,
    overrides: Iterable[str] = (),
    *,
    local_plugins: bool = True,
    self_contained: bool = False,
    problems: list[Problem] | None = None,
) -> Recipe:
    """Read a recipe.

    A setting is taken from the last of these that sets it: parent, file, profile, overrides.

    Args:
        recipe: its path, or the name of an included recipe
        profile: the name of one of its profiles; None: no profile
        overrides: settings of the command line, each `key.path=value`
        local_plugins: false: refuse a recipe that names local plugins
        self_contained: true for the recipe of a model or a run: refuse a parent, and plugins outside of its
            folder
        problems: gets the problems that do not prevent checking, such as a repeated key; None: raise them

    Raises:
        RecipeError: the recipe has problems
        UserError: there is no such recipe
    """
    path = _find(str(recipe), None)
    root, files, plugins, inherited = _with_parents(path, [], problems, self_contained=self_contained)
    _check_plugins(plugins, inherited, allowed=local_plugins)
    profiles = _profiles(root)
    if profile is not None:
        if profile not in profiles:
            raise RecipeError([Problem(_profiles_location(root, path), _unknown(profile, profiles))])
        root = yaml_tree.merge(root, yaml_tree.with_profile(profiles[profile], profile))
    for text in overrides:
        key = text.partition("=")[0].removesuffix("+").partition(".")[0]
        if key in _FILE_KEYS:
            message = f"{key} cannot be set on the command line; write it into the file of the recipe"
            raise RecipeError([Problem(Location(COMMAND_LINE, 1, 1, text), message)])
        root = override(root, text)
    assert isinstance(root.value, dict)
    settings = {key: node for key, node in root.value.items() if key not in _FILE_KEYS}
    return Recipe(Node(settings, root.at, root.keys), files, plugins, list(profiles))


def read_stored(file: Path) -> Node:
    """Read the recipe that seqx stored in the folder of a run or a model; all defaults are filled in.

    Raises:
        UserError: the file cannot be read, or is not a recipe
    """
    try:
        tree = yaml_tree.read(file)
    except RecipeError as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not isinstance(tree.value, dict):
        raise UserError(f"{file}: cannot be read (it is not a recipe)")
    return tree


def read_plain(file: Path) -> dict[str, Any]:
    """Return the stored recipe of a run or a model as plain values, see `read_stored`."""
    plain: dict[str, Any] = read_stored(file).plain()
    return plain


def _unknown(profile: str, known: Mapping[str, Node]) -> str:
    suggestion = hint(profile, known)
    listed = f" The profiles are: {shortened(', '.join(known), 1000)}" if suggestion.endswith("?") else ""
    return f"no profile is called {profile!r}{suggestion}{listed}"


def _profiles_location(root: Node, path: Path) -> Location:
    return root.keys.get("profiles") or Location(str(path), 1, 1)


def _find(recipe: str, at: Location | None) -> Path:
    path = Path(recipe)
    included = included_recipes()
    if _is_file(path) or _is_path(recipe, included):
        if os.path.isdir(path):  # noqa: PTH112  see `_is_file`
            inside = path / "recipe.yaml"
            example = inside if inside.is_file() else path / "NAME.yaml"
            raise UserError(f"{recipe}: is a folder; write the file of a recipe, such as {example}")
        return path
    if recipe not in included:
        message = f"no recipe is called {shortened(recipe)!r}{hint(recipe, included)}"
        raise RecipeError([Problem(at, message)]) if at else UserError(message)
    path = included[recipe]
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _is_file(path: Path) -> bool:
    """Return true if the file exists; false also if its name is too long."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises an error for it


def _is_path(recipe: str, included: Iterable[str]) -> bool:
    """Return true if `recipe` is a path like "./x", and not the name of an included one like "table3/x"."""
    folder = os.path.dirname(recipe)  # noqa: PTH120  Path drops the "./"
    if Path(recipe).suffix or not folder:
        return bool(Path(recipe).suffix)
    return not any(name.startswith(f"{folder}/") for name in included)


def _with_parents(
    path: Path, children: list[Path], problems: list[Problem] | None, *, self_contained: bool = False
) -> tuple[Node, list[Path], dict[Path, Location], dict[Path, Location]]:
    """Return the merged tree, the files, the recipe's own plugins, and the plugins of its parents."""
    root = yaml_tree.read(path, problems)
    if not isinstance(root.value, dict):
        reason = "a recipe must be a mapping" if root.value is not None else "this recipe is empty"
        raise RecipeError([Problem(root.at, f"{reason}; `seqx show wmt_en_de` prints an example")])
    plugins = _plugins(root, path.parent)
    if self_contained:
        _check_self_contained(root, path.parent, plugins)
    parent = root.value.get("extends")
    if parent is None:
        return root, [path], plugins, {}
    if not isinstance(parent.value, str):
        raise RecipeError(
            [Problem(parent.at, "extends must be the name or the file of one recipe, such as wmt_en_de")]
        )
    parent_file = _parent(parent.value, path, parent.at)
    if parent_file.resolve() in [other.resolve() for other in [path, *children]]:
        chain = " -> ".join(map(str, [*children, path, parent_file]))
        raise RecipeError([Problem(parent.at, f"recipes extend each other in a circle: {chain}")])
    if not _is_file(parent_file):
        raise RecipeError(
            [Problem(parent.at, f"extends: there is no file {shortened(str(parent_file), 200)}; correct it")]
        )
    # Messages about YAML quote the file. They must not reveal other files, such as private keys.
    if parent_file.resolve().suffix not in _SUFFIXES:
        shown = shortened(str(parent_file), 200)
        raise RecipeError(
            [Problem(parent.at, f"extends: {shown} is not a recipe; the name of a recipe ends in .yaml")]
        )
    base, files, parent_plugins, inherited = _with_parents(parent_file, [*children, path], problems)
    return yaml_tree.merge(base, root), [path, *files], plugins, {**inherited, **parent_plugins}


def _check_self_contained(root: Node, folder: Path, plugins: Mapping[Path, Location]) -> None:
    """Refuse the recipe of a model if it names files outside of its folder: users do not read this recipe."""
    assert isinstance(root.value, dict)
    problems = [
        Problem(
            at,
            f"{shortened(str(file), 200)} is outside of the model's folder; move this plugin into the folder",
        )
        for file, at in plugins.items()
        if not file.is_relative_to(os.path.normpath(folder))
    ]
    if "extends" in root.value:
        at = root.keys["extends"]
        problems.append(Problem(at, "the recipe of a model cannot extend another recipe; remove this line"))
    if problems:
        raise RecipeError(problems)


def _parent(written: str, child: Path, at: Location) -> Path:
    if _is_path(written, included_recipes()):
        return Path(os.path.normpath(child.parent / written))
    return _find(written, at)


def _plugins(root: Node, folder: Path) -> dict[Path, Location]:
    assert isinstance(root.value, dict)
    listed = root.value.get("plugins")
    if listed is None:
        return {}
    if not isinstance(listed.value, list):
        raise RecipeError(
            [Problem(listed.at, "plugins must be a list of files, such as [./my_attention.py]")]
        )
    wrong = [item for item in listed.value if not isinstance(item.value, str)]
    if wrong:
        raise RecipeError(
            [Problem(item.at, "a plugin must be a file, such as ./my_attention.py") for item in wrong]
        )
    return {Path(os.path.normpath(folder / str(item.value))): item.at for item in listed.value}


def _check_plugins(
    plugins: Mapping[Path, Location], inherited: Mapping[Path, Location], *, allowed: bool
) -> None:
    if not allowed and plugins:
        message = (
            "the code of this local plugin would be run; read it, then pass --trust-local-plugins (in "
            "Python: trust_local_plugins=True) if you trust it"
        )
        raise RecipeError([Problem(at, message) for at in plugins.values()])
    own = {file.resolve() for file in plugins}
    problems = [
        Problem(at, f"plugins of a parent recipe are not loaded; to use {file}, list it in this recipe, too")
        for file, at in inherited.items()
        if file.resolve() not in own
    ]
    if problems:
        raise RecipeError(problems)


def _profiles(root: Node) -> dict[str, Node]:
    assert isinstance(root.value, dict)
    node = root.value.get("profiles")
    if node is None:
        return {}
    if not isinstance(node.value, dict):
        raise RecipeError(
            [Problem(node.at, "profiles must be a mapping, such as {small: {training: {steps: 100}}}")]
        )
    problems = []
    for name, overlay in node.value.items():
        if overlay.value is None:  # null removes a profile of the parent
            continue
        if not isinstance(overlay.value, dict):
            message = "must be a mapping of settings, such as {training: {steps: 100}}"
            problems.append(Problem(overlay.at, f"profile {shortened(name)} {message}"))
            continue
        problems += [
            Problem(overlay.keys[key], f"a profile cannot contain {key!r}; move it out of `profiles`")
            for key in _FILE_KEYS
            if key in overlay.value
        ]
    if problems:
        raise RecipeError(problems)
    return {name: overlay for name, overlay in node.value.items() if overlay.value is not None}
