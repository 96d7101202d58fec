"""The command `seqx new recipe`: a commented recipe for a task, files and a budget of time."""

import re
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import click

from seqx.commands.check_vocabulary import check_vocabulary
from seqx.commands.loading import load_checked
from seqx.commands.next_commands import shell_name
from seqx.commands.output_path import OutputPath
from seqx.commands.recipe_index import matmul_speed
from seqx.commands.recipe_sizes import FEW_UPDATES, MAX_EPOCHS, Sizes, sizes
from seqx.commands.text_format import format_long_duration
from seqx.errors import UserError
from seqx.interfaces.starting_point import StartingPoint
from seqx.interfaces.task import Task
from seqx.interfaces.text import SPLITS
from seqx.plugin.loading import load_plugins
from seqx.recipe.suggestions import hint
from seqx.recipe.yaml_writer import dump
from seqx.storage.atomic import write_atomically
from seqx.storage.text_lines import expand_path, read_lines
from seqx.training.preflight import build_checked, count_parameters

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SAMPLE_LINES = 10_000  # of the training text, to estimate its size
_COMPRESSION = 3  # of text, by gzip and others
_TEXT_WIDTH = 110
_COMMENT = re.compile(r"^( *[^#\n]*\S) {2,}# ", re.MULTILINE)
_COMMENT_COLUMN = 30


@click.command(
    name="recipe",
    epilog="Example: seqx new recipe my.yaml --task translation --train train.en --train train.de "
    "--dev dev.en --dev dev.de --budget 1h",
)
@click.argument("file", metavar="FILE", type=OutputPath(is_new=True))
@click.option(
    "--task", "task_name", metavar="NAME", help="Task, such as translation; left out: all are listed."
)
@click.option("--train", metavar="PATH", multiple=True, help="Training file; repeat it for each column.")
@click.option("--dev", metavar="PATH", multiple=True, help="Development file; repeat it for each column.")
@click.option("--test", metavar="PATH", multiple=True, help="Test file; repeat it for each column.")
@click.option("--budget", metavar="TIME", help="Time for the run: 30m, 2h, 1d.  [default: 1h]")
def new_recipe(
    file: Path,
    *,
    task_name: str | None,
    train: Sequence[str],
    dev: Sequence[str],
    test: Sequence[str],
    budget: str | None,
) -> None:
    """Write a recipe for your own text, with comments.

    At a terminal, the command asks for what the options leave out. The amount of text and the time limit the
    size of the model and the number of updates; change them in FILE. Then FILE is checked as by `seqx check`.
    """
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"{file}: the name of a recipe ends in .yaml; write {file.with_suffix('.yaml')}")
    name, task, point = _chosen_task(task_name)
    files = {
        "train": train or _ask_files("--train", "Training", point),
        "dev": dev or _ask_files("--dev", "Development", point, needed=False),
        "test": test or _ask_files("--test", "Test", point, needed=False),
    }
    _check_files(files, point)
    seconds = _seconds(budget or _ask("--budget", "Time for training", "1h"))
    words = _words(task, files)
    chosen = sizes(
        words["train"],
        point.stacks,
        seconds,
        matmul_speed(),
        dev_words=words["dev"],
        test_words=words["test"],
        has_search=bool(re.search(r"^search:", point.template.read_text(encoding="utf-8"), re.MULTILINE)),
    )
    write_atomically(file, _text(name, task, file, files, chosen, words["train"]))
    _print_result(file, chosen, words["train"])


def _chosen_task(name: str | None) -> tuple[str, type[Task], StartingPoint]:
    """Return the name, the class and the starting point of a task; without a name, ask for it."""
    tasks = _tasks()
    name = name or _ask("--task", f"Task ({', '.join(tasks)})")
    if name not in tasks:
        raise UserError(f"--task: there is no template for the task {name!r}{hint(name, tasks)}")
    return name, *tasks[name]


def _print_result(file: Path, chosen: Sizes, words: int) -> None:
    """Check the recipe, and print its size, its duration and the next commands."""
    experiment = build_checked(load_checked(str(file)).configured)
    parameters = count_parameters(experiment)
    check_vocabulary(str(file), experiment)
    click.echo(
        f"{file}: written and checked; {parameters:,} parameters, {chosen.steps:,} updates, "
        f"{_duration(chosen)}"
    )
    if not chosen.fits_budget:
        click.echo(_too_long(chosen))
    if chosen.is_limited_by_text:
        click.echo(f"The text limits the run, not the time: {_too_little_text(words)}")
    elif chosen.steps < FEW_UPDATES:
        click.echo(
            f"{chosen.steps:,} updates are few; with fewer than {FEW_UPDATES:,} a model often learns only "
            "the most frequent words. Allow a longer --budget."
        )
    click.echo("Next steps:")
    for command in ("show", "run"):
        click.echo(f"  {shell_name()} {command} {shlex.quote(str(file))}")


def _tasks() -> dict[str, tuple[type[Task], StartingPoint]]:
    """Return the tasks that offer a starting point, by name."""
    components = load_plugins().registry.components(Task)
    makers = {name: component.maker for name, component in sorted(components.items())}
    return {
        name: (maker, maker.starting_point)
        for name, maker in makers.items()
        if isinstance(maker, type) and issubclass(maker, Task) and maker.starting_point is not None
    }


def _ask(option: str, question: str, default: str | None = None) -> str:
    """Return the answer to a question at a terminal; elsewhere the default.

    Raises:
        UsageError: there is no terminal, and no default
    """
    if _is_terminal():
        answer: str = click.prompt(question, default=default, show_default=bool(default), err=True)
        return answer.strip()
    if default is None:
        context = click.get_current_context()
        raise click.UsageError(f"Missing option '{option}': {question}.\n{context.command.epilog}", context)
    return default


def _is_terminal() -> bool:
    """Return true if a user can answer questions."""
    return sys.stdin is not None and sys.stdin.isatty()


def _ask_files(option: str, split: str, point: StartingPoint, *, needed: bool = True) -> list[str]:
    """Return the files of a split that a user names at a terminal."""
    columns = ", ".join(point.columns)
    optional = "" if needed else "; nothing: none"
    return _ask(
        option, f"{split} files, separated by spaces ({columns}{optional})", None if needed else ""
    ).split()


def _check_files(files: Mapping[str, Sequence[str]], point: StartingPoint) -> None:
    """Refuse missing files and a wrong number of files."""
    count, columns = len(point.columns), ", ".join(point.columns)
    for split in SPLITS:
        if files[split] and len(files[split]) != count:
            raise UserError(f"--{split}: the task needs {count} files ({columns}), not {len(files[split])}")
        for path in files[split]:
            if not expand_path(path).is_file():
                raise UserError(f"--{split}: there is no file {path}; correct the path")


def _seconds(budget: str) -> float:
    match = _BUDGET.fullmatch(budget.strip())
    if match is None or not float(match[1]):
        raise UserError(f"--budget: {budget!r} is not a time; write for example 90s, 30m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]


def _words(task: type[Task], files: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the approximate number of words on the target side of each split; 0 without files."""
    # If a text has one target token, its label, count the words of the text, in the first column.
    column = 0 if task.source_tokens > 1 else -1
    return {split: _count_words(expand_path(paths[column])) if paths else 0 for split, paths in files.items()}


def _duration(chosen: Sizes) -> str:
    return (
        f"about {format_long_duration(chosen.seconds)} on this machine "
        f"(rough estimate, with {format_long_duration(chosen.scoring_seconds)} for scores)"
    )


def _too_long(chosen: Sizes) -> str:
    updates = format_long_duration(chosen.seconds - chosen.scoring_seconds)
    return (
        f"The run takes longer than --budget: {chosen.steps:,} updates take {updates}, one validation and "
        f"the scores of the final model {format_long_duration(chosen.scoring_seconds)}. Allow more time, or "
        "use a smaller development or test set."
    )


def _too_little_text(words: int) -> str:
    return (
        f"{words:,} words allow no more updates, because more than about {MAX_EPOCHS} passes over "
        "a text rarely help. Add text for a better model, or set training.steps yourself."
    )


def _count_words(path: Path) -> int:
    """Return the approximate number of words of a text file, from its size and its first lines."""
    lines = [line for line, _ in zip(read_lines(path), range(_SAMPLE_LINES), strict=False)]
    if not lines:
        raise UserError(f"{path}: is empty; name a file with text")
    count, size = sum(len(line.split()) for line in lines), sum(len(line.encode()) + 1 for line in lines)
    if len(lines) == _SAMPLE_LINES:
        is_compressed = path.suffix in (".gz", ".bz2", ".xz", ".zst")
        whole = path.stat().st_size * (_COMPRESSION if is_compressed else 1)
        count = count * max(size, whole) // size
    return max(1, count)


def _text(
    name: str, task: type[Task], file: Path, files: Mapping[str, Sequence[str]], chosen: Sizes, words: int
) -> str:
    """Return the text of the recipe."""
    assert task.starting_point is not None
    template = task.starting_point.template.read_text(encoding="utf-8")
    given = {split: paths for split, paths in files.items() if paths}
    for split in files.keys() - given.keys():
        template = re.sub(rf"^.*\${split}(_path)?\n", "", template, flags=re.MULTILINE)
    values = {
        **chosen.template_values(),
        "tokens": max(1, round(chosen.preset.tokens / task.source_tokens)),
        **{split: dump([*paths], flow=True) for split, paths in given.items()},
        **{f"{split}_path": dump(paths[0], flow=True) for split, paths in given.items()},
    }
    text = Template(template).substitute(values)
    aligned = _COMMENT.sub(lambda match: f"{match[1]:<{_COMMENT_COLUMN}}  # ", text)
    return _header(name, file, chosen, words) + aligned


def _header(name: str, file: Path, chosen: Sizes, words: int) -> str:
    """Return the comment at the beginning of the recipe."""
    paragraphs = (
        f"The task {name} on your own text, written by `seqx new recipe`.",
        f"seqx check {file}    finds mistakes; seqx run {file} trains the model",
        (
            f"The training text has about {words:,} words (parts between spaces). The model gets "
            f"{chosen.steps:,} updates: {_duration(chosen)}, estimated from the speed of matrix products on "
            "this machine; `seqx plan` measures."
        ),
        (
            _too_long(chosen)
            if not chosen.fits_budget
            else f"The text limits the number of updates, not the time: {_too_little_text(words)}"
            if chosen.is_limited_by_text
            else "The time limits the number of updates, not the text: a longer --budget gives more updates, "
            "and often a better model."
        ),
        "`seqx components INTERFACE` lists what can replace a component, and explains its settings.",
    )
    lines = (textwrap.wrap(text, _TEXT_WIDTH, break_long_words=False) for text in paragraphs)
    return "#\n".join("".join(f"# {line}\n" for line in paragraph) for paragraph in lines)
