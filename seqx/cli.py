"""The command line: find the command, run it, and report errors.

A command is imported only when it is called, so that `seqx --help` imports neither torch nor plugins.
"""

import ast
import contextlib
import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import click

from seqx import __version__
from seqx.errors import PluginError, UserError, user_can_fix
from seqx.plugin.installed import COMMAND_GROUP, entry_points, origin
from seqx.runtime import printing
from seqx.runtime.signals import Stopped, StopRequest
from seqx_toolkit import DISTRIBUTION

EXIT_USER_ERROR = 2
"""The exit code after an error that the user can fix."""

EXIT_INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + SIGINT, as in shells."""

EXIT_STOPPED = 75
"""The exit code after a signal: EX_TEMPFAIL of sysexits.h, since the same command resumes the run."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # without tab and line feed, which are harmless

COMMANDS = {
    "run": (
        "seqx.commands.run:run",
        "Train and test the model of a RECIPE, or resume a run.",
    ),
    "evaluate": ("seqx.commands.evaluate:evaluate", "Score a model on a split of its corpus."),
    "score": ("seqx.commands.score:score", "Score outputs against references, or targets with a model."),
    "align": (
        "seqx.commands.align:align",
        "Align the words of sentence pairs by the cross-attention of a model.",
    ),
    "average": ("seqx.commands.average:average", "Average checkpoints of a run into a model."),
    "export": ("seqx.commands.export:export_model", "Write a MODEL in the format of another program."),
    "import": ("seqx.commands.export:import_model", "Read a model in the format of another program."),
    "check": (
        "seqx.commands.check:check",
        "Check recipes and count the parameters of their models, or check the components of a Python file.",
    ),
    "show": ("seqx.commands.show:show", "Print the resolved recipe and where each value came from."),
    "explain": (
        "seqx.commands.explain:explain",
        "Explain a setting of a RECIPE: its value, where it was set, and the values that it may have.",
    ),
    "diff": (
        "seqx.commands.diff:diff",
        "Show the settings that differ between A and B, with the origin of each value.",
    ),
    "inspect": (
        "seqx.commands.inspect:inspect_model",
        "Show what a MODEL consists of: parts, parameters, vocabulary, training data and scores.",
    ),
    "schema": ("seqx.commands.schema:schema", "Print the JSON Schema of recipes, for editors."),
    "recipes": (
        "seqx.commands.recipes:recipes",
        "List the included recipes: task, size, data and expected time.",
    ),
    "doctor": (
        "seqx.commands.doctor:doctor",
        "Examine the installation and the machine, and say what to do about problems.",
    ),
    "plugins": (
        "seqx.commands.plugins:plugins",
        "List the installed plugins, their components and commands.",
    ),
    "components": ("seqx.commands.components:components", "List components and explain their settings."),
    "new": (
        "seqx.commands.new:new",
        "Write a recipe for your own text, a component of your own, or a plugin, from a template.",
    ),
}
"""seqx's own commands: name, module and attribute, and the first line of the help."""


class CommandGroup(click.Group):
    """The commands of seqx and of plugins (entry points in group "seqx.commands")."""

    @property
    def plugin_commands(self) -> dict[str, list[EntryPoint]]:
        """The commands of plugins by name; a name with several entry points cannot be called."""
        return plugin_commands()[0]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, those of seqx first."""
        del ctx
        return [*COMMANDS, *self.plugin_commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            with _stop_during_import() if cmd_name == "run" else contextlib.nullcontext():
                command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        entries = self.plugin_commands.get(cmd_name, [])
        if len(entries) > 1:
            sources = ", ".join(origin(entry)[1] for entry in entries)
            raise PluginError(
                f"{cmd_name}: several plugins have a command of this name: {sources}; uninstall all but one"
            )
        return _load(entries[0]) if entries else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; if it does not exist, suggest the most similar name."""
        is_name = args and not args[0].startswith("-")
        if is_name and args[0] not in COMMANDS and args[0] not in (known := self.list_commands(ctx)):
            similar = difflib.get_close_matches(args[0], known, 1)
            hint = f"did you mean {similar[0]!r}?" if similar else "see `seqx --help`"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        rows = [(name, summary(entries[0])) for name, entries in self.plugin_commands.items()]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line with `printing.checked_streams`."""
        with printing.checked_streams():
            try:
                return super().main(*args, **kwargs)
            except UserError as error:  # raised by --help and --version, which print before `invoke`
                print_error(str(error))
                sys.exit(error.code)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; print one message for an error that the user can fix."""
        lacks_arguments = not ctx.args  # the command was called without arguments
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # so that a write error is reported here
        except click.NoSuchOption as error:
            raise _with_setting(error) from None
        except click.UsageError as error:
            if lacks_arguments or isinstance(error, click.MissingParameter):
                raise _with_example(error) from None
            raise
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            _exit_with_message(ctx, error, message)
        except Stopped as stopped:
            click.echo(f"stopped by {stopped}; run the same command again to continue", err=True)
            ctx.exit(EXIT_STOPPED)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        else:
            return result


@contextlib.contextmanager
def _stop_during_import() -> Iterator[None]:
    """Handle signals while torch is imported, which takes seconds.

    Do nothing if there are several ranks: the others would wait forever for a rank that stopped here.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        yield
        return
    stop = StopRequest()
    with stop.handling_signals():
        yield
        stop.raise_if_requested()


def plugin_commands() -> tuple[dict[str, list[EntryPoint]], list[EntryPoint]]:
    """Return the commands of plugins by name, and the ignored ones, whose names seqx itself uses."""
    by_name: dict[str, list[EntryPoint]] = {}
    ignored = []
    for entry in entry_points(group=COMMAND_GROUP):
        same_name = by_name.setdefault(entry.name, [])
        if entry.name in COMMANDS or any(origin(other)[1] == DISTRIBUTION for other in same_name):
            ignored.append(entry)
        else:
            same_name.append(entry)
    return {name: by_name[name] for name in sorted(by_name) if by_name[name]}, ignored


def _message(error: Exception) -> str | None:
    """Return the message about an error that the user can fix or that a plugin raised; else None."""
    match error:
        case UserError():
            return str(error)
        case printing.ReaderGoneError() | click.ClickException() | click.Abort() | click.exceptions.Exit():
            return None
        case _:
            from seqx.plugin.blame import message_naming_plugin  # noqa: PLC0415  it imports torch, which is slow

            message = message_naming_plugin(error)
            if message is None and isinstance(error, BrokenPipeError):  # click would exit without a message
                return (
                    f"a process that seqx writes to has ended ({error}); `seqx --debug` shows the traceback"
                )
            if message is None and isinstance(error, OSError) and user_can_fix(error):
                return f"{os.fsdecode(error.filename)}: {error.strerror}; fix that, or name another file"
            return message


def _with_example(error: click.UsageError) -> click.UsageError:
    """Add the example of the command (its `epilog`) to the error about a missing argument."""
    epilog = error.ctx.command.epilog if error.ctx else None
    if epilog is None or isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    return click.UsageError(f"{error.format_message()}\n{epilog}", error.ctx)


def _with_setting(error: click.NoSuchOption) -> click.UsageError:
    """Return the error about an unknown option; with KEY=VALUE in the usage, add how settings are written."""
    usage = " ".join(error.ctx.command.collect_usage_pieces(error.ctx)) if error.ctx else ""
    if "KEY=VALUE" not in usage or not error.option_name.startswith("--"):
        return error
    if "RECIPE" in usage or "SWEEP" in usage:
        from seqx.training.config import Training  # noqa: PLC0415  it imports torch, which is slow

        name = error.option_name.removeprefix("--").replace("-", "_")
        if name in signature(Training).parameters:
            return click.UsageError(f"{error.message} Did you mean training.{name}=VALUE?", error.ctx)
        if advice := Training.not_settings.get(name):
            message = f"{error.message} Settings of training are written as training.KEY=VALUE: {advice}"
            return click.UsageError(message, error.ctx)
    return click.UsageError(f"{error.format_message()} Settings are written as KEY=VALUE.", error.ctx)


def print_error(message: str) -> None:
    """Print a message on standard error; replace control characters, which a quoted file may contain."""
    click.echo(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", message), err=True)


def _exit_with_message(ctx: click.Context, error: Exception, message: str) -> NoReturn:
    if ctx.params.get("debug"):
        traceback.print_exception(error)
    print_error(message)
    ctx.exit(error.code if isinstance(error, UserError) else EXIT_USER_ERROR)


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{entry.name}: this command of {origin(entry)[1]} does not load: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(f"{entry.name}: {entry.value} of {origin(entry)[1]} is not a click command")
    return command


def summary(entry: EntryPoint) -> str:
    """Return the first line of the docstring of a command, without importing it."""
    try:
        path = _source_file(entry.module)
        body = ast.parse(path.read_bytes()).body if path else []
    except (OSError, SyntaxError, ValueError):
        body = []
    for item in body:
        if isinstance(item, ast.FunctionDef) and item.name == entry.attr:
            return (ast.get_docstring(item) or "").partition("\n")[0] or f"From {origin(entry)[1]}."
    return f"From {origin(entry)[1]}."


def _source_file(module: str) -> Path | None:
    """Return the file of a module, without importing its packages."""
    folders, name, origin = None, "", None
    for part in module.split("."):
        name = f"{name}.{part}".removeprefix(".")
        spec = PathFinder.find_spec(name, folders)
        if spec is None:
            return None
        folders, origin = list(spec.submodule_search_locations or ()), spec.origin
    return Path(origin) if origin else None


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.version_option(__version__, message="%(prog)s %(version)s", help="Show the version and exit.")
def main(*, debug: bool) -> None:
    """Train and use sequence models that are described by recipes.

    A recipe is a YAML file; `seqx run` trains its model and writes it to runs/NAME/model. Settings can be
    changed on the command line, as in `seqx run wmt_en_de training.steps=1000`.

    `seqx COMMAND --help` explains a command.
    """
    del debug
