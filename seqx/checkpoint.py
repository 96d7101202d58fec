"""Weights on disk: checkpoints of a run, their mean, and the folder of a finished model."""

import json
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from seqx.bounded import json_content
from seqx.errors import UserError
from seqx.files import whole_file, whole_folder
from seqx.interfaces.values import Score
from seqx.tensors import check_fits, header

FORMAT = 1
"""The version of what is written here; a reader refuses what is newer."""

WEIGHTS = "model.safetensors"

JSON = 1 << 20
"""Most bytes of a JSON file that is written here."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come."""

    step: int = 0  # updates made
    epoch: int = 0
    index: int = 0  # updates made in this epoch
    tokens: int = 0  # target tokens learnt from
    seconds: float = 0.0  # spent in training, over all starts
    best: float | None = None  # the best score on the development set
    best_step: int = 0
    stale: int = 0  # validations since then


class Checkpoints:
    """The checkpoints of a run, `checkpoints/STEP/`, each either whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps at which there is a checkpoint, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / f"{step:08}"

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        states: Mapping[str, Any],
        *,
        score: float | None = None,
        ranked: bool = True,
    ) -> Path:
        """Write a checkpoint; `ranked`: it may be averaged or chosen, not only resumed from."""
        path = self.path(progress.step)
        about = {"format": FORMAT, "score": score, "ranked": ranked, "progress": asdict(progress)}
        with _written(path) as new:
            save_model(model, str(new / WEIGHTS))
            torch.save({"states": dict(states), "rng": _random_states()}, new / "training.pt")
            (new / "checkpoint.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return path

    def about(self, step: int) -> dict[str, Any]:
        """What is known of a checkpoint without its tensors."""
        return read_json(self.path(step) / "checkpoint.json")

    def progress(self) -> Progress | None:
        """How far the newest checkpoint has come; None: there is none."""
        steps = self.steps()
        return Progress(**self.about(steps[-1])["progress"]) if steps else None

    def restore(self, step: int, model: nn.Module, device: torch.device) -> tuple[Progress, dict[str, Any]]:
        """Give a model the weights of a step, and torch its random states; returns the other states."""
        path = self.path(step)
        advice = f"remove {path} to go on from the one before"
        try:
            read_weights(model, path / WEIGHTS)
        except UserError as error:
            raise UserError(f"{error}; {advice}") from None
        try:
            saved = torch.load(path / "training.pt", map_location=device, weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            # Torch's own words on what it refuses to unpickle tell the user to trust the file.
            why = "damaged" if isinstance(error, pickle.UnpicklingError) else error
            raise UserError(f"{path / 'training.pt'}: cannot be read ({why}); {advice}") from None
        progress = Progress(**self.about(step)["progress"])
        _set_random_states(saved["rng"])
        return progress, saved["states"]

    def prune(self, keep: int, *, choose: str) -> None:
        """Remove what nothing will need: all but the newest, and the `keep` last or best ranked ones."""
        steps = self.steps()
        wanted = {*steps[-1:], *self.chosen(keep, choose=choose)}
        for step in steps:
            if step not in wanted:  # out of sight first, so that nobody ever finds half of one
                self.path(step).rename(self.folder / f".{step:08}.old")
        for half in self.folder.glob(".*"):  # also those left by a save that was killed
            shutil.rmtree(half, ignore_errors=True)

    def chosen(self, count: int, *, choose: str) -> list[int]:
        """The last, or the best, `count` ranked checkpoints, in order; the newest one when none is ranked."""
        steps = self.steps()
        about = {step: self.about(step) for step in steps}
        ranked = [step for step in steps if about[step]["ranked"]]
        if choose == "best":
            scored = [step for step in ranked if about[step]["score"] is not None]
            ranked = sorted(scored, key=lambda step: (about[step]["score"], step)) or ranked
        return sorted(ranked[-count:]) or steps[-1:]


def average(files: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of weights, tensor by tensor, computed in double precision."""
    total: dict[str, Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    for file in files:
        weights = _read(file)
        if total and _shapes(weights) != _shapes(total):
            raise UserError(f"{file}: holds other tensors than {files[0]}; average checkpoints of one run")
        for name, tensor in weights.items():
            kinds[name] = tensor.dtype
            total[name] = total.get(name, 0) + tensor.double()
    return {name: (tensor / len(files)).to(kinds[name]) for name, tensor in total.items()}


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    recipe: str,
    learnt: Path,
    about: Mapping[str, Any],
    beside: Mapping[str, Path] | None = None,
) -> None:
    """Write a model's folder, which needs nothing else: weights, recipe, what was learnt, files `beside`."""
    with _written(folder) as new:
        save_file(dict(weights), str(new / WEIGHTS), metadata={"format": "pt"})
        (new / "recipe.yaml").write_text(recipe, encoding="utf-8")
        shutil.copytree(learnt, new / "task")
        for name, file in (beside or {}).items():
            (new / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, new / name)
        (new / "model.json").write_text(
            json.dumps({"format": FORMAT, **about}, indent=2) + "\n", encoding="utf-8"
        )


def write_scores(folder: Path, scores: Mapping[str, Mapping[str, Score]]) -> None:
    """Write `scores.json`: for each split its scores, each with its signature."""
    plain = {split: {name: asdict(score) for name, score in named.items()} for split, named in scores.items()}
    whole_file(folder / "scores.json", json.dumps(plain, indent=2) + "\n")


def read_weights(model: nn.Module, file: Path) -> None:
    """Give a model the weights of a file.

    Raises:
        UserError: it cannot be read, or is of another model
    """
    check_fits(model, header(file), file)
    try:
        load_model(model, str(file))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    except RuntimeError as error:
        first, *rest = [line.strip() for line in str(error).splitlines()[1:] or [str(error)]]
        more = f" (and {len(rest)} more)" if rest else ""
        raise UserError(f"{file}: holds the weights of another model: {first}{more}") from None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file written here.

    Raises:
        UserError: it is missing, damaged, or of a newer seqx
    """
    try:
        about = json_content(file, JSON)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not isinstance(about, dict):
        raise UserError(f"{file}: cannot be read (not a JSON object)")
    if not isinstance(about.get("format", FORMAT), int):
        raise UserError(f"{file}: cannot be read (its format is {about['format']!r})")
    if about.get("format", FORMAT) > FORMAT:
        raise UserError(f"{file}: written by a newer seqx (format {about['format']}); update seqx to read it")
    return about


@contextmanager
def _written(folder: Path) -> Iterator[Path]:
    """A whole folder; the libraries that write tensors have errors of their own for a full disk."""
    with whole_folder(folder) as new:
        try:
            yield new
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"{folder}: cannot be written ({error}); is the disk full?") from None


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _read(file: Path) -> dict[str, Tensor]:
    header(file)
    try:
        return load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None


def _random_states() -> dict[str, Tensor | list[Tensor]]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def _set_random_states(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state.cpu(), index)
