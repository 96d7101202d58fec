"""The command `seqx trees`: statistics, conversion and drawing of trees."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import click

import seqx
from seqx_parsing.cleaning import SEPARATORS, TAG_SEPARATORS, clean
from seqx_parsing.drawing import draw_tree
from seqx_parsing.linearisation import Linearisation, add_top
from seqx_parsing.reader import read
from seqx_parsing.ruled_out import RuledOut
from seqx_parsing.silver_command import silver
from seqx_parsing.tree import Leaf, Tree
from seqx_parsing.tree_statistics import TreeStatistics
from seqx_parsing.words import split_words, untagged_leaves

LINEARISATIONS = ("top_down", "in_order")
Clean = Callable[[Tree], Tree | None]
TREE_CHANGED = 1  # exit code of `roundtrip`

files = click.argument("files", metavar="[FILE...]", nargs=-1)
linearisations = click.option(
    "--linearisation",
    "-l",
    "names",
    multiple=True,
    default=LINEARISATIONS,
    show_default=True,
    metavar="NAME",
    help="Linearisation to apply; may be repeated. Settings are written as in recipes: "
    "'{type: top_down, tags: true}'.",
)


def cleaning_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for cleaning to a command; its first argument becomes the cleaning function."""

    @click.option(
        "--separators",
        default=" ".join(SEPARATORS),
        show_default=True,
        help="Cut labels at these separators (separated by spaces).",
    )
    @click.option(
        "--tag-separators",
        default=" ".join(TAG_SEPARATORS),
        show_default=True,
        help="Cut part-of-speech tags at these separators (separated by spaces).",
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
    """Inspect and convert trees in brackets.

    A FILE contains trees in brackets, on one or several lines each, plain or compressed with gzip, bzip2, xz
    or zstd. Without FILE, standard input is read. Markup between trees is ignored.
    """


trees.add_command(silver)


@trees.command()
@files
@linearisations
@cleaning_options
def stats(clean: Clean, /, files: Sequence[str], names: Sequence[str]) -> None:
    """Count the words, labels, depths and linearised lengths of cleaned trees."""
    statistics = TreeStatistics({name: _linearisation("--linearisation", name) for name in names})
    for tree in _trees(files):
        statistics.add(clean(tree))
    for line in statistics.lines():
        click.echo(line)


@trees.command()
@files
@linearisations
@click.option(
    "--show",
    type=click.IntRange(0),
    metavar="N",
    default=3,
    show_default=True,
    help="Maximum number of changed trees to print.",
)
@cleaning_options
@click.pass_context
def roundtrip(
    ctx: click.Context, clean: Clean, /, files: Sequence[str], names: Sequence[str], show: int
) -> None:
    """Check that cleaned trees are unchanged after linearising and decoding.

    Prints the number of unchanged trees, and the first trees that changed. The exit code is 1 if a tree
    changed. Also counts the trees that the grammar rules out: a constrained search can never write them.
    """
    chosen = {name: _linearisation("--linearisation", name) for name in names}
    ruled_out = {name: RuledOut(linearisation) for name, linearisation in chosen.items()}
    total = 0
    changed: dict[str, list[tuple[Tree, list[str], Tree]]] = {name: [] for name in names}
    for tree in filter(None, map(clean, _trees(files))):
        total += 1
        expected, leaves = add_top([tree]), list(tree.leaves())
        for name, linearisation in chosen.items():
            ruled_out[name].add(tree)
            symbols = linearisation.encode(tree)
            decoded, repaired = linearisation.decode(symbols, leaves)
            if repaired or decoded != expected:
                changed[name].append((expected, symbols, decoded))
    for name, differences in changed.items():
        click.echo(f"{name}: {total - len(differences):,} of {total:,} trees are unchanged")
        if ruled_out[name].count:
            click.echo(f"{name}: {ruled_out[name]}")
        for expected, symbols, decoded in differences[:show]:
            click.echo(f"  tree     {expected}\n  symbols  {' '.join(symbols)}\n  decoded  {decoded}")
    if any(changed.values()):
        ctx.exit(TREE_CHANGED)


@trees.command(epilog="Example: seqx trees convert --to top_down train.trees")
@files
@click.option("--to", "name", required=True, metavar="NAME", help="The linearisation, written as in recipes.")
@click.option(
    "--back", metavar="SYMBOLS", help="Convert the symbols in this file, one line per sentence, to trees."
)
@click.option("--words", is_flag=True, help="With --back: FILE contains plain words, one sentence per line.")
@cleaning_options
def convert(clean: Clean, /, files: Sequence[str], name: str, back: str | None, *, words: bool) -> None:
    """Linearise cleaned trees, or convert symbols back to trees.

    Each tree becomes one line of symbols. With --back, line i of SYMBOLS becomes a tree over the words of the
    i-th tree of FILE. Unless the symbols contain parts of speech, those of this tree are used. With --words,
    FILE contains words separated by spaces, one sentence per line, and every part of speech is XX. Malformed
    lines are repaired, and standard error reports their number.
    """
    linearisation = _linearisation("--to", name)
    if back is None:
        if words:
            raise click.UsageError("--words needs --back")
        for tree in map(clean, _trees(files)):
            click.echo(" ".join(linearisation.encode(tree)) if tree else "")
        return
    repairs = 0
    sentences = _sentences(files) if words else map(_leaves, map(clean, _trees(files)))
    for number, (line, leaves) in enumerate(zip_longest(seqx.read_lines(Path(back)), sentences), 1):
        if line is None or leaves is None:
            _raise_line_mismatch(number, back, missing_symbols=line is None)
        tree, repaired = linearisation.decode(split_words(line), leaves)
        readable = tree.readable()
        repairs += repaired or (readable is not tree and bool(leaves))
        click.echo(str(readable))
    if repairs:
        click.echo(f"{repairs:,} of {number:,} lines were malformed and were repaired", err=True)


@trees.command()
@files
@click.option("--cleaned", is_flag=True, help="Remove traces and function tags.")
@click.option("--ascii", "plain", is_flag=True, help="Draw with ASCII characters.")
@cleaning_options
def draw(clean: Clean, /, files: Sequence[str], *, cleaned: bool, plain: bool) -> None:
    """Draw trees in the terminal."""
    for tree in _trees(files):
        shown = clean(tree) if cleaned else tree
        if shown is not None:
            click.echo(draw_tree(shown, plain=plain))


def _linearisation(option: str, name: str) -> Linearisation:
    return seqx.component_from_option(Linearisation, option, name)


def _trees(files: Sequence[str]) -> Iterator[Tree]:
    """Yield the trees of all files, or of standard input, uncleaned."""
    for source, lines in _texts(files):
        yield from read(lines, source)


def _leaves(tree: Tree | None) -> list[Leaf]:
    return [] if tree is None else list(tree.leaves())


def _sentences(files: Sequence[str]) -> Iterator[list[Leaf]]:
    for _, lines in _texts(files):
        for line in lines:
            yield untagged_leaves(split_words(line))


def _texts(files: Sequence[str]) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the name and the lines of each text."""
    if not files:
        yield "standard input", seqx.read_standard_input()
    for file in files:
        yield file, seqx.read_lines(Path(file))


def _raise_line_mismatch(number: int, back: str, *, missing_symbols: bool) -> NoReturn:
    mismatch = f"the line of sentence {number} is missing"
    if not missing_symbols:
        mismatch = "there is no sentence for this line"
    raise seqx.UserError(f"{back}:{number}: {mismatch}; the file must have one line per sentence")
