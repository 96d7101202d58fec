"""The command `seqx explain`."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from seqx.commands.arguments import profile_option
from seqx.commands.component_texts import type_and_default
from seqx.commands.loading import CheckedRecipe, load_checked
from seqx.errors import RecipeError, UserError
from seqx.plugin.registry import Setting, section_settings
from seqx.recipe.configured import Configured, Value
from seqx.recipe.unknown_setting import advice
from seqx.recipe.yaml_writer import dump


@click.command(epilog="Example: seqx explain wmt_en_de training.tokens --profile sample")
@click.argument("recipe")
@click.argument("setting", metavar="KEY.PATH")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@profile_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    recipe: str, setting: str, overrides: Sequence[str], *, profile: str | None, as_json: bool
) -> None:
    """Explain a setting of a RECIPE: its value, where it was set, and the values that it may have.

    KEY.PATH is the path of a setting, such as model.encoder.layers, or of a component, such as model.encoder.
    If the recipe, or one that it extends, describes a published experiment, the value there is shown, too.
    """
    checked = load_checked(recipe, profile, overrides)
    value = _find(checked.configured, setting)
    facts = _facts(checked, setting, value) | _published(checked, setting)
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(_lines(facts)))


def _find(recipe: Configured[Any], path: str) -> Value:
    """Return the value at a path.

    Raises:
        UserError: there is no such setting; the message names a similar one, or all
    """
    value: Value = recipe
    steps = path.split(".")
    for number, step in enumerate(steps):
        inside = value.children()
        if step not in inside:
            parent = ".".join(steps[:number]) or "the recipe"
            if not inside:
                found = dump(value.plain(), flow=True)
                raise UserError(f"{path}: {parent} is {found} in this recipe and has no settings")
            maker = value.maker if isinstance(value, Configured) else None
            end = advice(step, inside, path=".".join(steps[:number]), inside=inside, maker=maker)
            raise UserError(f"{path}: {parent} has no setting {step!r}{end}")
        value = inside[step]
    return value


def _facts(checked: CheckedRecipe, path: str, value: Value) -> dict[str, Any]:
    """Return what is known about a setting, except its published value."""
    parent, _, name = path.rpartition(".")
    setting = _settings(_find(checked.configured, parent) if parent else checked.configured).get(name)
    facts: dict[str, Any] = {
        "setting": path,
        "value": value.plain(),
        "origin": "default" if value.at is None else value.at.origin,
    }
    if setting is not None:
        facts |= {"allowed": type_and_default(setting, checked.plugins.registry), "help": setting.help}
    if isinstance(value, Configured) and value.component is not None:
        component = value.component
        facts |= {"component": component.name, "summary": component.summary, "defined": component.where}
        facts["settings"] = {each.name: each.help for each in component.settings.values()}
    return facts


def _settings(value: Value) -> Mapping[str, Setting]:
    """Return the settings that a component or a section declares; none for a list or a mapping."""
    if not isinstance(value, Configured):
        return {}
    return section_settings(value.maker) if value.component is None else value.component.settings


def _published(checked: CheckedRecipe, path: str) -> dict[str, Any]:
    """Return the value in the published experiment that the recipe or a parent describes.

    No profile is applied.
    """
    for file in checked.recipe.files:
        try:
            configured = load_checked(str(file)).configured
        except RecipeError:  # a parent may need the settings of its children, or a profile
            continue
        if published := configured.plain()["published"]:
            try:
                return {"published": _find(configured, path).plain(), "source": published["source"]}
            except UserError:  # the published experiment has other components
                return {}
    return {}


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the facts as text."""
    yield f"{facts['setting']}: {dump(facts['value'], flow=True)}"
    for name in ("origin", "allowed", "help", "component", "summary", "defined"):
        if facts.get(name):
            yield f"  {name}: {facts[name]}"
    if "published" in facts:
        yield f"  published: {dump(facts['published'], flow=True)} ({facts['source']})"
    for name, text in facts.get("settings", {}).items():
        yield from textwrap.wrap(f"  {facts['setting']}.{name}: {text}", 100, subsequent_indent="      ")
