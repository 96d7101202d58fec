"""`seqx trees`."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import click

import seqx
from seqx_parsing.cleaning import SEPARATORS, TAG_SEPARATORS, clean
from seqx_parsing.drawing import drawn
from seqx_parsing.linearisation import Linearisation, rooted
from seqx_parsing.reader import read
from seqx_parsing.ruled_out import RuledOut
from seqx_parsing.silver_command import silver
from seqx_parsing.tree import Leaf, Tree
from seqx_parsing.tree_statistics import Statistics
from seqx_parsing.words import split, untagged

LINEARISATIONS = ("top_down", "in_order")
Clean = Callable[[Tree], Tree | None]
DIFFERENT = 1  # exit code of `roundtrip` when a tree did not come back

files = click.argument("files", metavar="[FILE...]", nargs=-1)
linearisations = click.option(
    "--linearisation",
    "-l",
    "names",
    multiple=True,
    default=LINEARISATIONS,
    show_default=True,
    metavar="NAME",
    help="May be repeated; settings as in recipes: '{type: top_down, tags: true}'.",
)


def cutting(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for cleaning to a command, which gets the cleaning function as first argument."""

    @click.option(
        "--separators",
        default=" ".join(SEPARATORS),
        show_default=True,
        help="Cut labels at these separators, given with spaces between.",
    )
    @click.option(
        "--tag-separators",
        default=" ".join(TAG_SEPARATORS),
        show_default=True,
        help="Cut parts of speech at these separators.",
    )
    @functools.wraps(command)
    def wrapped(*, separators: str, tag_separators: str, **options: Any) -> None:
        cleaning = functools.partial(
            clean, separators=separators.split(), tag_separators=tag_separators.split()
        )
        command(cleaning, **options)

    return wrapped


@click.group()
def trees() -> None:
    """Look at trees in brackets: count them, draw them, write them as symbols and back; make some.

    A FILE has trees in brackets, one a line or laid out over several, plain or .gz; standard input is read
    where there is none. Markup between trees is ignored.
    """


trees.add_command(silver)


@trees.command()
@files
@linearisations
@cutting
def stats(clean: Clean, /, files: Sequence[str], names: Sequence[str]) -> None:
    """Count words, labels, depths and symbols of cleaned trees."""
    statistics = Statistics({name: _linearisation("--linearisation", name) for name in names})
    for tree in _trees(files):
        statistics.add(clean(tree))
    for line in statistics.lines():
        click.echo(line)


@trees.command()
@files
@linearisations
@click.option("--show", type=click.IntRange(0), default=3, show_default=True, help="So many that differ.")
@cutting
@click.pass_context
def roundtrip(
    ctx: click.Context, clean: Clean, /, files: Sequence[str], names: Sequence[str], show: int
) -> None:
    """Write cleaned trees as symbols and back: is anything lost?

    Says how many trees come back as they were, and shows the first that do not. Exit code 1
    when there is one. Trees that the grammar rules out are counted, too: a search with the
    grammar can never write them.
    """
    made = {name: _linearisation("--linearisation", name) for name in names}
    ruled_out = {name: RuledOut(linearisation) for name, linearisation in made.items()}
    total = 0
    wrong: dict[str, list[tuple[Tree, list[str], Tree]]] = {name: [] for name in names}
    for tree in filter(None, map(clean, _trees(files))):
        total += 1
        expected, leaves = rooted([tree]), list(tree.leaves())
        for name, linearisation in made.items():
            ruled_out[name].add(tree)
            symbols = linearisation.encode(tree)
            decoded, repaired = linearisation.decode(symbols, leaves)
            if repaired or decoded != expected:
                wrong[name].append((expected, symbols, decoded))
    for name, found in wrong.items():
        click.echo(f"{name}: {total - len(found):,} of {total:,} trees come back as they were")
        if ruled_out[name].trees:
            click.echo(f"{name}: {ruled_out[name]}")
        for expected, symbols, decoded in found[:show]:
            click.echo(f"  tree     {expected}\n  symbols  {' '.join(symbols)}\n  decoded  {decoded}")
    if any(wrong.values()):
        ctx.exit(DIFFERENT)


@trees.command()
@files
@click.option("--to", "name", required=True, metavar="NAME", help="The linearisation, as in recipes.")
@click.option("--back", metavar="SYMBOLS", help="Make trees of this file's lines of symbols instead.")
@click.option("--words", is_flag=True, help="With --back: FILE has plain words, a sentence a line.")
@cutting
def convert(clean: Clean, /, files: Sequence[str], name: str, back: str | None, *, words: bool) -> None:
    """Write cleaned trees as symbols, or make trees of symbols.

    A tree becomes a line. With --back, line i of SYMBOLS becomes a tree over the words of the i-th tree of
    FILE, with its parts of speech unless the symbols say others. With --words, FILE has words with spaces
    between them, a sentence a line; their part of speech is XX. Malformed lines are repaired, and counted on
    standard error.
    """
    linearisation = _linearisation("--to", name)
    if back is None:
        if words:
            raise click.UsageError("--words says how the words for --back are written")
        for tree in map(clean, _trees(files)):
            click.echo(" ".join(linearisation.encode(tree)) if tree else "")
        return
    repairs = 0
    sentences = _sentences(files) if words else map(_said, map(clean, _trees(files)))
    for number, (line, leaves) in enumerate(zip_longest(seqx.read_lines(Path(back)), sentences), 1):
        if line is None or leaves is None:
            _uneven(number, back, short=line is None)
        tree, repaired = linearisation.decode(split(line), leaves)
        readable = tree.readable()
        repairs += repaired or (readable is not tree and bool(leaves))
        click.echo(str(readable))
    if repairs:
        click.echo(f"{repairs:,} of {number:,} lines were malformed; their trees are repaired", err=True)


@trees.command()
@files
@click.option("--cleaned", is_flag=True, help="Without traces and function tags.")
@click.option("--ascii", "plain", is_flag=True, help="With lines of plain characters.")
@cutting
def draw(clean: Clean, /, files: Sequence[str], *, cleaned: bool, plain: bool) -> None:
    """Draw trees for the terminal."""
    for tree in _trees(files):
        shown = clean(tree) if cleaned else tree
        if shown is not None:
            click.echo(drawn(shown, plain=plain))


def _linearisation(option: str, name: str) -> Linearisation:
    return seqx.component_from_option(Linearisation, option, name)


def _trees(files: Sequence[str]) -> Iterator[Tree]:
    """The trees of files one after the other, as they are, or of standard input."""
    for source, lines in _texts(files):
        yield from read(lines, source)


def _said(tree: Tree | None) -> list[Leaf]:
    return [] if tree is None else list(tree.leaves())


def _sentences(files: Sequence[str]) -> Iterator[list[Leaf]]:
    for _, lines in _texts(files):
        for line in lines:
            yield untagged(split(line))


def _texts(files: Sequence[str]) -> Iterator[tuple[str, Iterable[str]]]:
    """What each text is called, and its lines."""
    if not files:
        yield "standard input", seqx.read_standard_input()
    for file in files:
        yield file, seqx.read_lines(Path(file))


def _uneven(number: int, back: str, *, short: bool) -> NoReturn:
    what = "has no line for this sentence" if short else "has a line, but the sentences are at an end"
    raise seqx.UserError(f"{back}:{number}: {what}; line i belongs to sentence i")
