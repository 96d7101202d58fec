"""Read a recipe: its parents, profiles and overrides merged into one tree."""

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqx.errors import COMMAND_LINE, Location, Problem, RecipeError, UserError, shortened
from seqx.recipe import yaml_tree
from seqx.recipe.overrides import override
from seqx.recipe.suggestions import hint
from seqx.recipe.yaml_tree import Node

_SUFFIXES = (".yaml", ".yml", ".json")
ASIDE = ("extends", "profiles", "plugins")  # keys of a recipe file that are not settings


@dataclass(frozen=True)
class Recipe:
    """A recipe with its parents, profile and overrides merged.

    Args:
        tree: the merged tree, without `extends`, `profiles` and `plugins`
        files: the files that it was read from, the recipe itself first
        plugins: the local plugins that it names, with the locations of their names
        profiles: the names of its profiles
    """

    tree: Node
    files: Sequence[Path]
    plugins: Mapping[Path, Location]
    profiles: Sequence[str]

    @property
    def name(self) -> str:
        """The name of a recipe that comes with seqx; for any other recipe, the name of its file."""
        own = self.files[0]
        return next((name for name, path in named().items() if path.samefile(own)), own.stem)


def named() -> dict[str, Path]:
    """Return the recipes that come with seqx, by name; a recipe in a folder is called FOLDER/NAME."""
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
    whole: bool = False,
    problems: list[Problem] | None = None,
) -> Recipe:
    """Read a recipe.

    Later settings override earlier ones: parent, file, profile, overrides.

    Args:
        recipe: its path, or the name of a recipe that comes with seqx
        profile: the name of one of its profiles
        overrides: settings of the command line, each `key.path=value`
        local_plugins: false: refuse a recipe that names local plugins
        whole: the recipe is that of a model: it must not extend another, and its plugins must be in its
            folder
        problems: problems that do not prevent checking, such as a repeated key, are added to it; None: they
            are raised

    Raises:
        RecipeError: the recipe has problems
        UserError: there is no such recipe
    """
    path = _find(str(recipe), None)
    root, files, plugins, inherited = _with_parents(path, [], problems, whole=whole)
    _check_plugins(plugins, inherited, allowed=local_plugins)
    profiles = _profiles(root)
    if profile is not None:
        if profile not in profiles:
            raise RecipeError([Problem(_profiles_location(root, path), _unknown(profile, profiles))])
        root = yaml_tree.merge(root, yaml_tree.of_profile(profiles[profile], profile))
    for text in overrides:
        key = text.partition("=")[0].partition(".")[0]
        if key in ASIDE:
            message = f"{key} belongs in a recipe's file and cannot be set on the command line"
            raise RecipeError([Problem(Location(COMMAND_LINE, 1, 1, text), message)])
        root = override(root, text)
    assert isinstance(root.value, dict)
    settings = {key: node for key, node in root.value.items() if key not in ASIDE}
    return Recipe(Node(settings, root.at, root.keys), files, plugins, list(profiles))


def read_plain(file: Path) -> dict[str, Any]:
    """Read the stored recipe of a run or a model, in which all defaults are filled in, as plain values.

    Raises:
        UserError: it is not a recipe
    """
    try:
        plain = yaml_tree.read(file).plain()
    except RecipeError as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not isinstance(plain, dict):
        raise UserError(f"{file}: cannot be read (it is not a recipe)")
    return plain


def _unknown(profile: str, known: Mapping[str, Node]) -> str:
    suggestion = hint(profile, known)
    listed = f" There are: {shortened(', '.join(known), 1000)}" if suggestion.endswith("?") else ""
    return f"no profile is called {profile!r}{suggestion}{listed}"


def _profiles_location(root: Node, path: Path) -> Location:
    return root.keys.get("profiles") or Location(str(path), 1, 1)


def _find(recipe: str, at: Location | None) -> Path:
    path = Path(recipe)
    shipped = named()
    if _is_file(path) or _is_path(recipe, shipped):
        if os.path.isdir(path):  # noqa: PTH112  see `_is_file`
            inside = path / "recipe.yaml"
            advice = f"as {inside}" if inside.is_file() else "a .yaml file"
            raise UserError(f"{recipe}: this is a folder; give a recipe, {advice}")
        return path
    if recipe not in shipped:
        message = f"no recipe is called {shortened(recipe)!r}{hint(recipe, shipped)}"
        raise RecipeError([Problem(at, message)]) if at else UserError(message)
    path = shipped[recipe]
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _is_file(path: Path) -> bool:
    """Return true if the file exists; false also if its name is too long."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises an error for it


def _is_path(recipe: str, known: Iterable[str]) -> bool:
    """Return true if `recipe` is a path like "./x", and not the name of a shipped recipe like "table3/x"."""
    folder = os.path.dirname(recipe)  # noqa: PTH120  Path drops the "./"
    if Path(recipe).suffix or not folder:
        return bool(Path(recipe).suffix)
    return not any(name.startswith(f"{folder}/") for name in known)


def _with_parents(
    path: Path, children: list[Path], problems: list[Problem] | None, *, whole: bool = False
) -> tuple[Node, list[Path], dict[Path, Location], dict[Path, Location]]:
    """Return the merged tree of a recipe, its files, its own plugins and those of its parents."""
    root = yaml_tree.read(path, problems)
    if not isinstance(root.value, dict):
        reason = "a recipe is a mapping of sections" if root.value is not None else "this recipe is empty"
        raise RecipeError([Problem(root.at, f"{reason}; see `seqx show wmt_en_de`")])
    plugins = _plugins(root, path.parent)
    if whole:
        _check_whole(root, path.parent, plugins)
    parent = root.value.get("extends")
    if parent is None:
        return root, [path], plugins, {}
    if not isinstance(parent.value, str):
        raise RecipeError([Problem(parent.at, "extends names one other recipe")])
    parent_file = _parent(parent.value, path, parent.at)
    if parent_file.resolve() in [other.resolve() for other in [path, *children]]:
        chain = " -> ".join(map(str, [*children, path, parent_file]))
        raise RecipeError([Problem(parent.at, f"recipes extend each other in a circle: {chain}")])
    if not _is_file(parent_file):
        raise RecipeError(
            [Problem(parent.at, f"extends: there is no file {shortened(str(parent_file), 200)}")]
        )
    # Messages about YAML quote the file. They must not reveal other files, such as keys.
    if parent_file.resolve().suffix not in _SUFFIXES:
        shown = shortened(str(parent_file), 200)
        raise RecipeError(
            [Problem(parent.at, f"extends: {shown} is not a recipe; the name of a recipe ends in .yaml")]
        )
    base, files, parent_plugins, inherited = _with_parents(parent_file, [*children, path], problems)
    return yaml_tree.merge(base, root), [path, *files], plugins, {**inherited, **parent_plugins}


def _check_whole(root: Node, folder: Path, plugins: Mapping[Path, Location]) -> None:
    """Refuse the recipe of a model if it names files outside of the folder: users do not inspect it."""
    assert isinstance(root.value, dict)
    problems = [
        Problem(
            at,
            f"{shortened(str(file), 200)} is outside of the model's folder; plugins of a model must be in it",
        )
        for file, at in plugins.items()
        if not file.is_relative_to(os.path.normpath(folder))
    ]
    if "extends" in root.value:
        at = root.keys["extends"]
        problems.append(Problem(at, "the recipe of a model cannot extend another recipe; leave this out"))
    if problems:
        raise RecipeError(problems)


def _parent(written: str, child: Path, at: Location) -> Path:
    if _is_path(written, named()):
        return Path(os.path.normpath(child.parent / written))
    return _find(written, at)


def _plugins(root: Node, folder: Path) -> dict[Path, Location]:
    assert isinstance(root.value, dict)
    listed = root.value.get("plugins")
    if listed is None:
        return {}
    if not isinstance(listed.value, list):
        raise RecipeError([Problem(listed.at, "plugins is a list of files, as in [./my_attention.py]")])
    wrong = [item for item in listed.value if not isinstance(item.value, str)]
    if wrong:
        raise RecipeError([Problem(item.at, "a plugin is named by its file") for item in wrong])
    return {Path(os.path.normpath(folder / str(item.value))): item.at for item in listed.value}


def _check_plugins(
    plugins: Mapping[Path, Location], inherited: Mapping[Path, Location], *, allowed: bool
) -> None:
    if not allowed and plugins:
        message = (
            "this recipe brings code of its own; read it, then pass --trust-local-plugins if you trust it"
        )
        raise RecipeError([Problem(at, message) for at in plugins.values()])
    own = {file.resolve() for file in plugins}
    problems = [
        Problem(at, f"a parent's plugins are not loaded; to use {file}, list it in your own recipe, too")
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
        raise RecipeError([Problem(node.at, "profiles is a mapping of names to what each changes")])
    problems = []
    for name, overlay in node.value.items():
        if overlay.value is None:  # it removes a profile of the parent
            continue
        if not isinstance(overlay.value, dict):
            problems.append(Problem(overlay.at, f"profile {shortened(name)} is a mapping of what it changes"))
            continue
        problems += [
            Problem(overlay.keys[key], f"a profile cannot hold {key!r}; write it at the top of the file")
            for key in ASIDE
            if key in overlay.value
        ]
    if problems:
        raise RecipeError(problems)
    return {name: overlay for name, overlay in node.value.items() if overlay.value is not None}
