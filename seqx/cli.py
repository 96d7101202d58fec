"""The command line: the verbs, and how a user's mistakes are told.

A verb is imported when it is called, so that `seqx --help` needs neither torch nor a plugin.
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
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from seqx import __version__
from seqx.errors import PluginError, UserError, mendable
from seqx.runtime import printing
from seqx.runtime.signals import Stopped, StopRequest
from seqx_toolkit import DISTRIBUTION

GROUP = "seqx.commands"
MISTAKE = 2  # exit code for what the user can mend
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: give the same command again

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed: they move a cursor

VERBS = {  # name: where it lives, what it does
    "run": (
        "seqx.commands.run:run",
        "Prepare, train, average and test what RECIPE says; the same command resumes.",
    ),
    "evaluate": ("seqx.commands.evaluate:evaluate", "Score a model on a split of its corpus."),
    "score": ("seqx.commands.score:score", "Score a file of outputs against one of references."),
    "average": ("seqx.commands.average:average", "Average checkpoints of a run into one model."),
    "check": ("seqx.commands.check:check", "Report every problem of recipes, or their parameters."),
    "show": ("seqx.commands.show:show", "A recipe with everything filled in, and where from."),
    "schema": ("seqx.commands.schema:schema", "JSON Schema of recipes, for editors."),
    "plugins": ("seqx.commands.plugins:plugins", "The plugins: versions, what they bring, what failed."),
    "components": ("seqx.commands.components:components", "What a recipe can name, and its settings."),
    "new": ("seqx.commands.new:new", "Write a plugin that works, to be changed into one's own."),
}


class Verbs(click.Group):
    """seqx's own verbs and those of plugins (entry points in group "seqx.commands")."""

    @property
    def foreign(self) -> dict[str, list[EntryPoint]]:
        """The commands of plugins by name; one that several plugins have cannot be called."""
        return claimed()[0]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, ours first."""
        del ctx
        return [*VERBS, *self.foreign]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        del ctx
        if cmd_name in VERBS:
            module, _, attribute = VERBS[cmd_name][0].partition(":")
            with _listening() if cmd_name == "run" else contextlib.nullcontext():
                command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        claims = self.foreign.get(cmd_name, [])
        if len(claims) > 1:
            sources = ", ".join(_source(entry) for entry in claims)
            raise PluginError(
                f"{cmd_name}: several plugins have a command of this name: {sources}; uninstall all but one"
            )
        return _load(claims[0]) if claims else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; for one that nobody has, name the nearest."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            near = difflib.get_close_matches(args[0], known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "see `seqx --help`"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])
        rows = [(name, summary(entries[0])) for name, entries in self.foreign.items()]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; an output that cannot be written does not change how a command ended."""
        with printing.checked():
            try:
                return super().main(*args, **kwargs)
            except UserError as error:  # of --help and --version, which print before a verb is called
                say(str(error))
                sys.exit(error.code)

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; a mistake that the user can mend is one message and exit code 2, an interrupt 130."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, too
        except Exception as error:
            message = _explained(error)
            if message is None:
                raise
            _tell(ctx, error, message)
        except Stopped as stopped:
            click.echo(f"stopped by {stopped}; the same command goes on", err=True)
            ctx.exit(STOPPED)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        else:
            return result


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Signals are heard while torch is imported, which takes seconds.

    Not by one of several processes: those that came further would wait for it in vain.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        yield
        return
    stop = StopRequest()
    with stop.handling_signals():
        yield
        stop.raise_if_requested()


def claimed() -> tuple[dict[str, list[EntryPoint]], list[EntryPoint]]:
    """The commands of plugins by name, and those that are ignored because seqx has one of their name."""
    found: dict[str, list[EntryPoint]] = {}
    ignored = []
    for entry in sorted(
        entry_points(group=GROUP), key=lambda entry: (_source(entry) != DISTRIBUTION, entry.name)
    ):
        others = found.setdefault(entry.name, [])
        if entry.name in VERBS or any(_source(other) == DISTRIBUTION for other in others):
            ignored.append(entry)
        else:
            others.append(entry)
    return {name: found[name] for name in sorted(found) if found[name]}, ignored


def _explained(error: Exception) -> str | None:
    """The one message about an error that somebody else than seqx can mend."""
    match error:
        case UserError():
            return str(error)
        case printing.ReaderGoneError() | click.ClickException() | click.Abort() | click.exceptions.Exit():
            return None
        case _:
            from seqx.plugin.blame import attributed  # noqa: PLC0415  needs torch, which most verbs can wait for

            message = attributed(error)
            if message is None and isinstance(error, BrokenPipeError):  # click would end without a message
                return (
                    f"a process that seqx writes to has ended ({error}); `seqx --debug` shows the traceback"
                )
            if message is None and isinstance(error, OSError) and mendable(error):
                return f"{os.fsdecode(error.filename)}: {error.strerror}; see to that, or name another place"
            return message


def say(message: str) -> None:
    """Tell something on standard error; what it repeats of a file moves no cursor."""
    click.echo(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", message), err=True)


def _tell(ctx: click.Context, error: Exception, message: str) -> NoReturn:
    if ctx.params.get("debug"):
        traceback.print_exception(error)
    say(message)
    ctx.exit(error.code if isinstance(error, UserError) else MISTAKE)


def _source(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{entry.name}: this command of {_source(entry)} does not load: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(f"{entry.name}: {entry.value} of {_source(entry)} is no click command")
    return command


def summary(entry: EntryPoint) -> str:
    """The first line of a command's docstring, read from its file without importing it."""
    try:
        path = _file(entry.module)
        body = ast.parse(path.read_bytes()).body if path else []
    except (OSError, SyntaxError, ValueError):
        body = []
    for item in body:
        if isinstance(item, ast.FunctionDef) and item.name == entry.attr:
            return (ast.get_docstring(item) or "").partition("\n")[0] or f"From {_source(entry)}."
    return f"From {_source(entry)}."


def _file(module: str) -> Path | None:
    """The source of a module, found without running its packages."""
    folders, name, origin = None, "", None
    for part in module.split("."):
        name = f"{name}.{part}".removeprefix(".")
        spec = PathFinder.find_spec(name, folders)
        if spec is None:
            return None
        folders, origin = list(spec.submodule_search_locations or ()), spec.origin
    return Path(origin) if origin else None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def main(*, debug: bool) -> None:
    """Sequence models from plugins and recipes."""
    del debug
