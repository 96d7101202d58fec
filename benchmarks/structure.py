"""The structure of the core: its parts, their levels and imports, and the files that one update executes.

    python -m benchmarks.structure            parts, levels, imports and cycles
    python -m benchmarks.structure --trace    also the files of one update and of one translated sentence

A part is a module or a package at the top of `seqx`. The level of a part is 0 if it imports no other part,
else one more than the highest level among its imports. Imports in functions count; those of
`seqx/__init__.py`, which imports all public names, do not. `--trace` trains the sample of
recipes/wmt_en_de.yaml for a few updates.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

from benchmarks.provenance import ROOT

CORE = ROOT / "seqx"
TRACER = Path(__file__).with_name("tracer.py")
SENTENCE = "Please put the most important letter behind the bed."

Parts = Mapping[str, Counter[str]]
"""For each part, the number of its files that import each other part."""


def module_name(file: Path) -> str:
    """Return the dotted name of a module of the core."""
    return ".".join(file.relative_to(CORE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name


def part_of(name: str) -> str | None:
    """Return the part of a dotted name; None for names outside of the core."""
    names = name.split(".")
    inside = names[0] == "seqx" and len(names) > 1
    return names[1] if inside and names[1] in part_names() else None


@cache
def part_names() -> frozenset[str]:
    """Return the names of the modules and packages at the top of the core."""
    paths = [path for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return frozenset(path.stem for path in paths) - {"__init__"}


def read_parts() -> Parts:
    """Read the imports between parts from the source."""
    parts: dict[str, Counter[str]] = {name: Counter() for name in sorted(part_names())}
    for file in sorted(CORE.rglob("*.py")):
        part = part_of(module_name(file))
        if part is not None:
            others = {part_of(name) for name in imported(file)} - {None, part}
            parts[part].update(other for other in others if other)
    return parts


def levels(parts: Parts) -> dict[str, int]:
    """Return the level of each part.

    Raises:
        ValueError: the parts import each other in a cycle
    """

    def level(part: str, above: tuple[str, ...] = ()) -> int:
        if part in above:
            raise ValueError(f"cycle of imports: {' -> '.join([*above[above.index(part) :], part])}")
        return max((level(other, (*above, part)) + 1 for other in parts[part]), default=0)

    return {part: level(part) for part in parts}


def level_lines(parts: Parts) -> Iterator[str]:
    """Yield the parts by level, the highest first, with their imports."""
    level_of = levels(parts)
    arrows = sum(len(imports) for imports in parts.values())
    yield f"{len(parts)} parts on {max(level_of.values()) + 1} levels, {arrows} imports between parts"
    for part in sorted(parts, key=lambda part: (-level_of[part], part)):
        yield f"{level_of[part]:>3}  {part:<12} {' '.join(sorted(parts[part]))}".rstrip()


def trace() -> Mapping[str, list[str]]:
    """Train the sample for a few updates, translate a sentence, and return the files and the frames."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = {
            "extends": str(ROOT / "recipes" / "wmt_en_de.yaml"),
            "plugins": [str(TRACER)],
            "callbacks": ["progress", "metrics", {"type": "tracer", "file": str(folder / "update.json")}],
        }
        (folder / "traced.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        settings = [
            *("training.steps=4", "training.validate_every=4", "training.save_every=4"),
            *("task.corpus.train=400", "task.corpus.dev=2", "task.corpus.test=2", "task.tokenizer.size=400"),
            *("training.tokens=500", "search.ratio=0.2", "search.extra=2"),
        ]
        run = [sys.executable, "-m", "seqx", "run", "traced.yaml", "--profile", "sample", "--folder", "run"]
        subprocess.run([*run, *settings], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        translate = [sys.executable, str(TRACER), "run/model", "sentence.json", SENTENCE]
        subprocess.run(translate, cwd=folder, check=True)
        update = json.loads((folder / "update.json").read_text(encoding="utf-8"))
        return {"an update": update, **json.loads((folder / "sentence.json").read_text(encoding="utf-8"))}


def main() -> None:
    """Print the structure."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--trace", action="store_true", help="list the files of an update and of a sentence")
    options = parser.parse_args()
    try:
        print("\n".join(level_lines(read_parts())))
    except ValueError as error:
        sys.exit(str(error))
    for title, lines in (trace() if options.trace else {}).items():
        print(f"\n{title}: {len(lines)}")
        print("\n".join(f"  {line}" for line in lines))


if __name__ == "__main__":
    main()
