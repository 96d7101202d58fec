"""The structure of the core: its rooms, floors and imports, and the files that one step of work goes through.

    python -m benchmarks.structure            rooms, floors, imports and cycles
    python -m benchmarks.structure --trace    also the files of one update and of one translated sentence

A room is a module or a package at the top of `seqx`. The floor of a room is 0 if it imports no other room,
else one more than the highest floor among its imports. Imports in functions count; those of
`seqx/__init__.py`, which names everything public, do not. `--trace` trains the sample of
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

Rooms = Mapping[str, Counter[str]]
"""For each room, how often it imports each other room."""


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


def room_of(name: str) -> str | None:
    """Return the room of a dotted name of the core, None for names outside of it."""
    parts = name.split(".")
    inside = parts[0] == "seqx" and len(parts) > 1
    return parts[1] if inside and parts[1] in room_names() else None


@cache
def room_names() -> frozenset[str]:
    """Return the names of the modules and packages at the top of the core."""
    paths = [path for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return frozenset(path.stem for path in paths) - {"__init__"}


def rooms() -> Rooms:
    """Read the imports between rooms from the source."""
    found: dict[str, Counter[str]] = {name: Counter() for name in sorted(room_names())}
    for file in sorted(CORE.rglob("*.py")):
        room = room_of(module_name(file))
        if room is not None:
            others = {room_of(name) for name in imported(file)} - {None, room}
            found[room].update(other for other in others if other)
    return found


def floors(found: Rooms) -> dict[str, int]:
    """Return the floor of each room.

    Raises:
        ValueError: the rooms import each other in a cycle
    """

    def floor(room: str, above: tuple[str, ...] = ()) -> int:
        if room in above:
            raise ValueError(f"cycle of imports: {' -> '.join([*above[above.index(room) :], room])}")
        return max((floor(other, (*above, room)) + 1 for other in found[room]), default=0)

    return {room: floor(room) for room in found}


def drawing(found: Rooms) -> Iterator[str]:
    """Yield the rooms floor by floor, from the top, with their imports."""
    heights = floors(found)
    arrows = sum(len(imports) for imports in found.values())
    yield f"{len(found)} rooms on {max(heights.values()) + 1} floors, {arrows} imports between rooms"
    for room in sorted(found, key=lambda room: (-heights[room], room)):
        yield f"{heights[room]:>3}  {room:<12} {' '.join(sorted(found[room]))}".rstrip()


def traced() -> Mapping[str, list[str]]:
    """Train the sample for a few updates, translate a sentence, and return the files and the frames."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = {
            "extends": str(ROOT / "recipes" / "wmt_en_de.yaml"),
            "plugins": [str(TRACER)],
            "callbacks": ["progress", "metrics", {"type": "tracer", "file": str(folder / "update.json")}],
        }
        (folder / "traced.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        settings = ["training.steps=4", "training.validate_every=4", "training.save_every=4"]
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
        print("\n".join(drawing(rooms())))
    except ValueError as error:
        sys.exit(str(error))
    for what, lines in (traced() if options.trace else {}).items():
        print(f"\n{what}: {len(lines)}")
        print("\n".join(f"  {line}" for line in lines))


if __name__ == "__main__":
    main()
