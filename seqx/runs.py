"""The folder of a run: what it was asked for, whether it is finished, and that no two work in it at once."""

import fcntl
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from seqx.checkpoint import read_json
from seqx.errors import UserError
from seqx.files import whole_file
from seqx.interfaces.values import Evaluation, Score
from seqx.plugins import Plugins

HARMLESS = ("callbacks", "training.microbatch", "training.save_minutes", "training.steps")
"""What may differ when a run goes on: it does not change the updates that were made before."""


class RunFolder:
    """Where a run keeps what it makes.

    `recipe.yaml` (everything filled in), `environment.json`, `checkpoints/`, `model/`, `outputs/`, and what
    callbacks write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def model(self) -> Path:
        """The folder of the finished model."""
        return self.folder / "model"

    @contextmanager
    def opened(self, recipe: Mapping[str, Any], plugins: Plugins) -> Iterator[None]:
        """The folder for one run alone, new or of the same recipe.

        Raises:
            UserError: it is another recipe's, in use, or cannot be written
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written: {error.strerror}; choose another --folder"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"{self.folder}: another run works here; wait for it, or choose another --folder"
                ) from None
            self._check_same(recipe)
            whole_file(self.folder / "recipe.yaml", written(recipe))
            whole_file(self.folder / "environment.json", json.dumps(environment(plugins), indent=2) + "\n")
            yield

    def finished(self) -> Mapping[str, Mapping[str, Score]] | None:
        """The scores of a finished run."""
        file = self.model / "scores.json"
        if not file.is_file():
            return None
        return {
            split: {name: Score(**score) for name, score in scores.items()}
            for split, scores in read_json(file).items()
        }

    def write_outputs(self, split: str, evaluation: Evaluation) -> None:
        """Keep what the model answered: `outputs/SPLIT.txt`, a line for each input."""
        folder = self.folder / "outputs"
        folder.mkdir(exist_ok=True)
        if evaluation.answers:
            whole_file(
                folder / f"{split}.txt", "".join(f"{answer.output}\n" for answer in evaluation.answers)
            )

    def _check_same(self, recipe: Mapping[str, Any]) -> None:
        file = self.folder / "recipe.yaml"
        if not file.is_file():
            return
        before, now = (
            _flat(yaml.safe_load(file.read_text(encoding="utf-8"))),
            _flat(yaml.safe_load(written(recipe))),
        )
        different = [
            f"  {key}: {before.get(key, 'not set')} before, {now.get(key, 'not set')} now"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and not key.startswith(HARMLESS)
        ]
        if different:
            raise UserError(
                f"{self.folder}: holds a run of another recipe; choose another --folder, or remove this one. "
                "What differs:\n" + "\n".join(different[:12])
            )


def written(recipe: Mapping[str, Any]) -> str:
    """A plain recipe as YAML."""
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100)


def environment(plugins: Plugins) -> dict[str, Any]:
    """What a run was made with: versions, and the machine."""
    packages = ("torch", "numpy", "sentencepiece", "sacrebleu", "safetensors", "pydantic", "pluggy")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "seqx": _version("seqx"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "plugins": {
            plugin.name: {"version": plugin.version, "from": plugin.source, "sha256": plugin.sha256}
            for plugin in plugins.loaded
        },
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": cuda,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        parts = [_flat(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [_flat(item, f"{path}.{index}") for index, item in enumerate(value)]
    else:
        return {path: value}
    return {key: item for part in parts for key, item in part.items()}
