"""Write a sample of the current file formats to `tests/formats`, which has a sample of each earlier version.

    python -m tests.core.format_sample tests/formats/2.3

A sample is a run of two processes with a rollback, its prepared examples, and digests of their content.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from seqx.data.loader import Position
from seqx.data.store import Store
from seqx.runtime.random_state import all_random_states
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import average
from seqx.training.recovery.divergence import Divergence, UpdateRef
from seqx.training.recovery.skipped_batches import SkippedBatches

FORMATS = Path(__file__).parents[1] / "formats"
WRITTEN_BY_CALLBACKS = ("log.txt", "metrics.jsonl", "outputs")


def samples() -> list[Path]:
    """Return the samples in ascending order. In 2.1, 2 is the format, and 1 counts additions to it."""
    return sorted(FORMATS.iterdir(), key=lambda path: [int(number) for number in path.name.split(".")])


def user_recipe(sample: Path, folder: Path) -> Path:
    """Copy the recipe of a sample to a folder, with the current names of its settings."""
    text = (sample / "small.yaml").read_text(encoding="utf-8")
    for old, new in (("longest", "max_length"), ("share", "tie_embeddings"), ("keep", "keep_checkpoints")):
        text = re.sub(rf"(?m)^  {old}: ", f"  {new}: ", text)
    result = folder / "small.yaml"
    result.write_text(text, encoding="utf-8")
    return result


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested values with its path; a tensor as its type, shape and hash."""
    match value:
        case torch.Tensor():
            raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            yield path, [str(value.dtype), list(value.shape), hashlib.sha256(raw).hexdigest()[:16]]
        case dict() | list() | tuple():
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from flat(item, f"{path}/{key}")
        case _:
            yield path, value


def digest(value: Any) -> str:
    """Return a digest of nested values."""
    return hashlib.sha256(json.dumps(dict(flat(value)), sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """Return the progress and digests of the run of a sample, and of its prepared examples, if any."""
    checkpoints = Checkpoints(folder / "run" / "checkpoints")
    with mock.patch("seqx.storage.checkpoints.read_weights"):  # the digests of the weights are computed below
        progress, states = checkpoints.restore(2, nn.Module(), torch.device("cpu"))
    found = {
        "progress": asdict(progress),
        "weights": digest(average([checkpoints.path(2) / "model.safetensors"])),
        "states": digest(states),
        "random": digest({**all_random_states(), "cuda": []}),
        "model": digest(average([folder / "run" / "model" / "model.safetensors"])),
    }
    if (folder / "store").is_dir():
        store = Store.open(folder / "store")
        rows = [
            [{name: ids.tolist() for name, ids in store[i].items()}, store.text(i)] for i in range(len(store))
        ]
        found["store"] = digest([store.digest, store.identity, rows])
    return found


def main() -> None:
    """Write a sample."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        recipe = user_recipe(samples()[-1], work)
        command = ["run", str(recipe), "--devices", "2", "--device", "cpu", "training.steps=2"]
        subprocess.run(
            [sys.executable, "-m", "seqx", *command], cwd=work, check=True,
            env={
                "PATH": "", "OMP_NUM_THREADS": "1", "SEQX_CACHE": str(work / "cache"), "SEQX_REPORT": "0",
            },
        )  # fmt: skip
        run = work / "runs" / "small"
        divergence = Divergence(kind="spike", updates=[UpdateRef(3, Position(1, 1))])
        SkippedBatches(run).add(divergence, back_to=2, message="a rollback for the sample")
        folder.mkdir()
        shutil.copyfile(recipe, folder / "small.yaml")
        shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns(*WRITTEN_BY_CALLBACKS, ".*"))
        (index,) = (work / "cache").glob("*/index.json")
        shutil.copytree(index.parent, folder / "store")
    (folder / "expected.json").write_text(json.dumps(read(folder), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
