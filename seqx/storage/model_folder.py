"""Write and check the folder of a finished model."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter
from safetensors.torch import save_file
from torch import Tensor

from seqx.errors import DamagedError
from seqx.interfaces.scores import Score
from seqx.storage.atomic import write_atomically
from seqx.storage.json_format import FORMAT, check_supported, json_text, read_as, read_json
from seqx.storage.weights import WEIGHTS, checked_manifest, missing_manifest, sealed_folder

MAX_FILE_BYTES = 1 << 28
"""Maximum size of each file of a model folder, except the weights."""

SCORES = "scores.json"


def _with_interval(fields: Any) -> Any:
    """Return the fields of a score with mean and margin, which `Score.to_json` puts beside them, inside."""
    if not isinstance(fields, dict) or "mean" not in fields:
        return fields
    others = {name: value for name, value in fields.items() if name not in ("mean", "margin")}
    return {**others, "interval": {"mean": fields["mean"], "margin": fields.get("margin")}}


_SCORES = TypeAdapter(dict[str, dict[str, Annotated[Score, BeforeValidator(_with_interval)]]])


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    recipe: str,
    vocabulary: Path,
    info: Mapping[str, Any],
    files: Mapping[str, Path] | None = None,
) -> None:
    """Write a model folder, which has everything that inference needs.

    Args:
        folder: the final path; a model that exists there is replaced
        weights: the tensors by name
        recipe: the resolved recipe as YAML
        vocabulary: the folder with the vocabulary, which is copied to `task/`
        info: the content of `model.json`, to which the format is added
        files: further files to copy, by their names in the folder

    Raises:
        UserError: the folder cannot be written
    """
    with sealed_folder(folder) as new:
        save_file(dict(weights), str(new / WEIGHTS), metadata={"format": "pt"})
        (new / "recipe.yaml").write_text(recipe, encoding="utf-8")
        shutil.copytree(vocabulary, new / "task")
        for name, file in (files or {}).items():
            (new / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, new / name)
        text = json_text({"format": FORMAT, **info}, indent=2)
        (new / "model.json").write_text(text + "\n", encoding="utf-8")


def write_scores(folder: Path, scores: Mapping[str, Mapping[str, Score]]) -> None:
    """Write the scores of each split, with their signatures, to `scores.json`."""
    write_atomically(folder / SCORES, scores_text(scores))


def read_scores(folder: Path) -> dict[str, dict[str, Score]]:
    """Return the scores of each split that are recorded in a model folder; empty if there are none."""
    file = folder / SCORES
    return read_as(_SCORES, file, max_bytes=MAX_FILE_BYTES) if file.is_file() else {}


def scores_text(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """Return the content of `scores.json`."""
    plain = {
        split: {name: score.to_json() for name, score in by_metric.items()}
        for split, by_metric in scores.items()
    }
    return json_text(plain, indent=2) + "\n"


def check_model(folder: Path) -> None:
    """Check the hashes of all files of a model except its weights, which are checked when they are loaded.

    Raises:
        DamagedError: a file is missing, damaged or changed
        UserError: the format of the model is not supported
    """
    try:
        manifest = checked_manifest(folder)
        if manifest is not None:
            others = (name for name in manifest.files if name != WEIGHTS)
            manifest.check_hashes(*others, max_bytes=MAX_FILE_BYTES)
        check_supported(read_json(folder / "model.json").get("format", FORMAT), folder / "model.json")
        if manifest is None:
            raise missing_manifest(folder)
    except DamagedError as error:
        raise DamagedError(
            f"{error}; copy the model again; to change settings, pass KEY=VALUE instead of editing its files"
        ) from None
