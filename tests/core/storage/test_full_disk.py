"""A disk that is full at each write of a checkpoint or a model; simulated, and a real small one."""

import errno
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqx.errors import UserError
from seqx.storage import atomic, checkpoints, model_folder, state_dict
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import WEIGHTS

pytestmark = pytest.mark.promise("full-disk")

CPU = torch.device("cpu")


def filled(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Simulate a full disk after a number of writes; return the list of writes that were tried."""
    tried = list[str]()

    def step(place: object, name: str) -> None:
        real: Callable[..., object] = getattr(place, name)

        def full(*given: Any, **named: Any) -> object:
            tried.append(name)
            if len(tried) == after + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*given, **named)

        monkeypatch.setattr(place, name, full)

    step(tempfile, "mkdtemp")
    step(checkpoints, "save_model")
    step(model_folder, "save_file")
    step(state_dict, "save_file")
    step(Path, "write_text")
    step(shutil, "copytree")
    step(atomic, "fsync")
    step(Path, "chmod")
    step(Path, "rename")
    return tried


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check_message(error: UserError) -> None:
    message = str(error)
    assert message.count("\n") == 0
    assert (
        "cannot be written: No space left on device; free disk space, and run the same command" in message
        or ("choose another folder" in message)
    )


def test_full_disk_at_every_write_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints, model = Checkpoints(tmp_path / "checkpoints"), nn.Linear(3, 4)
    checkpoints.save(TrainingProgress(step=1), model, {"x": torch.ones(3)})
    for after in itertools.count():
        with monkeypatch.context() as patch:
            tried = filled(patch, after)
            try:
                checkpoints.save(TrainingProgress(step=2), model, {"x": torch.ones(3)})
                break
            except UserError as error:
                check_message(error)
        # The last write flushes the name of a folder that is already in place.
        steps = ["00000001", "00000002"] if "00000002" in listed(checkpoints.folder) else ["00000001"]
        assert listed(checkpoints.folder) == steps
        found = checkpoints.resume(nn.Linear(3, 4), CPU, pytest.fail)
        assert found is not None
    assert after > 12
    assert tried[-4:] == ["mkdtemp", "rename", "rename", "fsync"]  # a folder replaced another one
    assert {"save_model", "save_file", "write_text"} <= set(tried)


def test_full_disk_at_every_write_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt, place = tmp_path / "learnt", tmp_path / "place"
    for folder in (learnt, place):
        folder.mkdir()
    (learnt / "pieces").write_text("a b c")
    seen = list[str]()
    for after in itertools.count():
        with monkeypatch.context() as patch:
            tried = filled(patch, after)
            try:
                weights = {"x": torch.ones(2)}
                model_folder.write_model(place / "model", weights, recipe="", vocabulary=learnt, info={})
                break
            except UserError as error:
                check_message(error)
        assert listed(place) in ([], ["model"])
        seen = listed(place) or seen
        assert listed(place) == seen  # an older model stays
        if seen:
            model_folder.check_model(place / "model")
    model_folder.check_model(place / "model")
    assert {"save_file", "copytree", "write_text", "fsync", "rename"} <= set(tried)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("width", [40, 60, 80, 90])
def test_save_on_a_full_file_system(small: Path, width: int) -> None:
    """Save until the file system is full; the last complete checkpoint is resumed."""
    checkpoints, model = Checkpoints(small), nn.Linear(width, width)
    saves = {"optimizer": {"state": {0: {"exp_avg": torch.ones(3, width, width)}}}}
    saved = list[int]()
    for step in range(1, 40):
        try:
            checkpoints.save(TrainingProgress(step=step), model, saves)
        except UserError as error:
            message = str(error)
            break
        saved.append(step)
    assert saved
    assert message.startswith(f"{small}/{saved[-1] + 1:08}: cannot be written")
    assert ("No space left on device" in message, message.count("\n")) == (True, 0)
    assert listed(small) == [f"{step:08}" for step in saved]
    other = nn.Linear(width, width)
    found = checkpoints.resume(other, CPU, pytest.fail)
    assert found is not None
    assert found[0].step == saved[-1]
    assert torch.equal(found[1]["optimizer"]["state"][0]["exp_avg"], torch.ones(3, width, width))
    assert torch.equal(other.weight, model.weight)
    (checkpoints.path(saved[0]) / WEIGHTS).stat()
    for step in saved[:-1]:
        checkpoints.path(step).rename(small / f".{step}")  # a killed prune leaves this
    if len(saved) > 1:
        checkpoints.save(TrainingProgress(step=saved[-1] + 1), model, saves)
        assert checkpoints.steps() == [saved[-1], saved[-1] + 1]
