"""Tracing of the files of seqx that one update and one translation execute.

benchmarks/structure.py uses this file as a local plugin and as a program.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import seqx

ROOT = Path(__file__).parents[1]
UPDATE = 3
"""The update to trace. The first updates also execute code that runs only once."""

INSIDE = tuple(f"{ROOT / folder}/" for folder in ("seqx", "plugins"))


def file_of(frame: FrameType) -> str | None:
    """Return the file of a frame relative to the checkout; None for files outside of seqx."""
    name = frame.f_code.co_filename
    return str(Path(name).relative_to(ROOT)) if name.startswith(INSIDE) else None


class Tracer(seqx.Callback):
    """Write the names of the files of seqx that one update executes.

    Args:
        file: a JSON file to write
    """

    def __init__(self, *, file: str) -> None:
        self.file = Path(file)
        self.files: set[str] = set()

    @seqx.hookimpl
    def updated(self, update: seqx.Update) -> None:
        """Trace from the event of one update to that of the next."""
        if update.step == UPDATE - 1:
            sys.setprofile(self._profile)
        elif update.step == UPDATE:
            sys.setprofile(None)
            self.file.write_text(json.dumps(sorted(self.files)), encoding="utf-8")

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (name := file_of(frame)):
            self.files.add(name)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the tracer."""
    registry.add(seqx.Callback, tracer=Tracer)


def frames_above(frame: FrameType) -> list[str]:
    """Return the functions from `Predictor.__call__` to a frame, each with its file."""
    functions = [f"{file_of(frame)}: {frame.f_code.co_qualname}"]
    while frame.f_code.co_qualname != "Predictor.__call__" and frame.f_back is not None:
        frame = frame.f_back
        functions.append(f"{file_of(frame) or frame.f_code.co_filename}: {frame.f_code.co_qualname}")
    return functions[::-1]


def translation(predictor: Callable[[list[str]], Any], sentence: str) -> dict[str, list[str]]:
    """Translate a sentence twice; return the files and the stack frames of the second translation."""
    predictor([sentence])
    files: set[str] = set()
    frames: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        name = file_of(frame) if event == "call" else None
        if name is None:
            return
        files.add(name)
        if not frames and "seqx_search" in name and frame.f_code.co_name == "__call__":
            frames.extend(frames_above(frame))

    sys.setprofile(profile)
    predictor([sentence])
    sys.setprofile(None)
    return {"a sentence": sorted(files), "frames from the predictor to the search": frames}


if __name__ == "__main__":
    model, file, sentence = sys.argv[1:]
    predictor = seqx.load(model, device="cpu", trust_local_plugins=True)
    Path(file).write_text(json.dumps(translation(predictor, sentence)), encoding="utf-8")
