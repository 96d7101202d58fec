"""Runs and models of every format that was ever written load for ever."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import seqx
from seqx.checkpoint import FORMAT, Checkpoints, average, random_states
from tests.stories.tiny import done, lines

FORMATS = Path(__file__).parents[1] / "formats"
CPU = torch.device("cpu")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
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
    return hashlib.sha256(json.dumps(dict(flat(value)), sort_keys=True).encode()).hexdigest()


def test_there_is_a_sample_of_every_format() -> None:
    assert sorted(path.name for path in FORMATS.iterdir()) == [str(number + 1) for number in range(FORMAT)]
    for folder in FORMATS.iterdir():
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 200_000


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_checkpoint_is_read_bit_by_bit(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`expected.json` has digests of what those that wrote it read; weights and states, all of them."""
    expected = json.loads((FORMATS / str(number) / "expected.json").read_text())
    folder = shutil.copytree(FORMATS / str(number) / "run", tmp_path / "run")
    checkpoints = Checkpoints(folder / "checkpoints")
    monkeypatch.setattr("seqx.checkpoint.read_weights", lambda *_: None)  # they are looked at below
    progress, states = checkpoints.restore(2, nn.Module(), CPU)
    assert expected["progress"].items() <= vars(progress).items()
    assert digest(states) == expected["states"]
    assert digest({**random_states(), "cuda": []}) == expected["random"]
    assert digest(average([checkpoints.path(2) / "model.safetensors"])) == expected["weights"]
    assert digest(average([folder / "model" / "model.safetensors"])) == expected["model"]


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_model_answers(number: int) -> None:
    answers = seqx.load(FORMATS / str(number) / "run" / "model")(["A dog sleeps.", ""])
    assert answers[0]
    assert answers[1] == ""


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_run_goes_on(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    recipe = shutil.copyfile(FORMATS / str(number) / "small.yaml", "small.yaml")
    run = Path("runs/small")
    shutil.copytree(FORMATS / str(number) / "run", run, ignore=shutil.ignore_patterns("model"))
    done("run", recipe)
    assert [row["step"] for row in lines(run, "start")] == [2]
    assert [row["step"] for row in lines(run, "update")] == [3, 4]
    about = json.loads((run / "checkpoints/00000004/checkpoint.json").read_text())
    assert about["format"] == FORMAT
    assert json.loads((run / "model/model.json").read_text())["steps"] == [2, 4]
