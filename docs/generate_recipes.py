"""docs/reference/settings.md, components.md and commands.md: what recipes and the command line accept."""

import dataclasses
import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache

import click

from docs.docstrings import markdown
from seqx.cli import main as seqx_command
from seqx.commands.component_texts import default_text, type_text
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component, Registry, Setting, settings_of
from seqx.training.config import Training
from seqx.training.description import Experiment

SETTINGS = """\
# Settings

The sections of a recipe and their settings. The settings of a component, such as `model` or
`training.optimizer`, depend on its `type`; [Components](components.md) lists them.
[Recipes](recipes.md) explains the format.
"""

COMPONENTS = """\
# Components

Every included component, by interface. A recipe names a component by its `type`, or by the name alone if it
keeps all defaults. `seqx components INTERFACE NAME` prints the same, also for components of your plugins.
"""

COMMANDS = """\
# Commands

Every command with its options. `RECIPE` is a path or the name of an included recipe, and `KEY=VALUE`
overrides a setting. Commands that are not listed here come from plugins that you have installed.
"""


@cache
def _registry() -> Registry:
    return load_plugins().registry


def settings() -> str:
    """Return the page with the sections of a recipe."""
    lines = [SETTINGS, "## Top level", "", *_table(settings_of(Experiment).values())]
    lines += ["", "## `training`", "", markdown(Training.__doc__).partition("\n\nParameters:")[0], ""]
    lines += _table(settings_of(Training).values())
    for name, section in _sections(Training):
        lines += ["", f"### `training.{name}`: {section.__name__}", "", *_section(section)]
    for name, section in _sections(Experiment):
        if section is not Training:
            lines += ["", f"## `{name}`", "", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: type) -> list[str]:
    summary = markdown(section.__doc__).partition("\n\nParameters:")[0]
    return [summary, "", *_table(settings_of(section).values())]


def _sections(owner: type) -> Iterator[tuple[str, type]]:
    """Yield the settings of a section that are sections themselves, with their dataclasses."""
    for setting in settings_of(owner).values():
        choices = getattr(setting.annotation, "__args__", (setting.annotation,))
        for choice in choices:
            if dataclasses.is_dataclass(choice) and isinstance(choice, type):
                yield setting.name, choice


def _table(settings: Iterable[Setting]) -> list[str]:
    rows = [
        f"| `{setting.name}` | {_cell(_type(setting))} | {_cell(_default(setting))} | {_cell(setting.help)} |"
        for setting in settings
    ]
    if not rows:
        return ["It has no settings."]
    return ["| setting | type | default | meaning |", "|---|---|---|---|", *rows]


def _type(setting: Setting) -> str:
    return type_text(setting, _registry())


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    return re.sub(r"<[\w.]*?(\w+) object at .*>", r"\1", default_text(setting))


def _cell(text: str) -> str:
    return text.replace("collections.abc.", "").replace("|", "\\|").replace("<", "&lt;")


def components() -> str:
    """Return the page with every component that is included."""
    lines = [COMPONENTS]
    for interface in _registry().interfaces():
        lines += [f"## {interface.__name__}", "", markdown(interface.__doc__).partition("\n")[0], ""]
        for component in _registry().components(interface).values():
            lines += [f"### {interface.__name__} `{component.name}`", "", *_component(component), ""]
    return "\n".join(lines).rstrip() + "\n"


def _component(component: Component) -> Iterator[str]:
    yield markdown(getattr(component.maker, "__doc__", None)).partition("\n\nParameters:")[0]
    yield ""
    yield from _table(component.settings.values())


def commands() -> str:
    """Return the page with the help of every command."""
    lines, sections = [COMMANDS, "| command | purpose |", "|---|---|"], list[str]()
    settings = {**seqx_command.context_settings, "terminal_width": 100, "max_content_width": 100}
    context = click.Context(seqx_command, info_name="seqx", **settings)
    for name in seqx_command.list_commands(context):
        command = seqx_command.get_command(context, name)
        assert command is not None
        lines.append(f"| [`seqx {name}`](#seqx-{name}) | {_cell(command.get_short_help_str(limit=200))} |")
        sections += [f"## `seqx {name}`", "", *_help(command, context, name)]
    return "\n".join([*lines, "", *sections]).rstrip() + "\n"


def _help(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, parent, info_name=name, terminal_width=100, max_content_width=100)
    yield from ("```text", textwrap.dedent(command.get_help(context)), "```", "")
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from (f"### `seqx {name} {inner}`", "", *_help(found, context, inner))
