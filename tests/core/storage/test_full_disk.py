"""The disk is full at any write of a checkpoint or a model: simulated, and with a small file system."""

import errno
import itertools
import os
import shutil
import subprocess
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


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Simulate a full disk after a number of writes; return the list of writes that were tried."""
    attempts = list[str]()

    def count_writes(owner: object, name: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def write_or_fail(*args: Any, **kwargs: Any) -> object:
            attempts.append(name)
            if len(attempts) == after + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, write_or_fail)

    count_writes(atomic, "_locked_part")
    count_writes(checkpoints, "save_model")
    count_writes(model_folder, "save_file")
    count_writes(state_dict, "save_file")
    count_writes(Path, "write_text")
    count_writes(Path, "write_bytes")
    count_writes(shutil, "copytree")
    count_writes(atomic, "fsync")
    count_writes(Path, "chmod")
    count_writes(Path, "rename")
    return attempts


def names_in(folder: Path) -> list[str]:
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
            attempts = fill_disk(patch, after)
            try:
                checkpoints.save(TrainingProgress(step=2), model, {"x": torch.ones(3)})
                break
            except UserError as error:
                check_message(error)
        # The last write flushes the name of a folder that is already in place.
        steps = ["00000001", "00000002"] if "00000002" in names_in(checkpoints.folder) else ["00000001"]
        assert names_in(checkpoints.folder) == steps
        restored = checkpoints.resume(nn.Linear(3, 4), CPU, pytest.fail)
        assert restored is not None
    assert after > 12
    assert attempts[-4:] == ["_locked_part", "rename", "rename", "fsync"]  # a folder replaced another one
    assert {"save_model", "save_file", "write_text"} <= set(attempts)


def test_full_disk_at_every_write_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, parent = tmp_path / "vocabulary", tmp_path / "parent"
    for folder in (vocabulary, parent):
        folder.mkdir()
    (vocabulary / "pieces").write_text("a b c")
    present = list[str]()
    for after in itertools.count():
        with monkeypatch.context() as patch:
            attempts = fill_disk(patch, after)
            try:
                weights = {"x": torch.ones(2)}
                model_folder.write_model(parent / "model", weights, recipe="", vocabulary=vocabulary, info={})
                break
            except UserError as error:
                check_message(error)
        assert names_in(parent) in ([], ["model"])
        present = names_in(parent) or present
        assert names_in(parent) == present  # an older model stays
        if present:
            model_folder.check_model(parent / "model")
    model_folder.check_model(parent / "model")
    assert {"save_file", "copytree", "write_text", "fsync", "rename"} <= set(attempts)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
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
def test_save_on_a_full_file_system(small_disk: Path, width: int) -> None:
    """Save until the file system is full; the last complete checkpoint is resumed."""
    checkpoints, model = Checkpoints(small_disk), nn.Linear(width, width)
    states = {"optimizer": {"state": {0: {"exp_avg": torch.ones(3, width, width)}}}}
    saved = list[int]()
    for step in range(1, 40):
        try:
            checkpoints.save(TrainingProgress(step=step), model, states)
        except UserError as error:
            message = str(error)
            break
        saved.append(step)
    assert saved
    assert message.startswith(f"{small_disk}/{saved[-1] + 1:08}: cannot be written")
    assert ("No space left on device" in message, message.count("\n")) == (True, 0)
    assert names_in(small_disk) == [f"{step:08}" for step in saved]
    other = nn.Linear(width, width)
    restored = checkpoints.resume(other, CPU, pytest.fail)
    assert restored is not None
    assert restored[0].step == saved[-1]
    assert torch.equal(restored[1]["optimizer"]["state"][0]["exp_avg"], torch.ones(3, width, width))
    assert torch.equal(other.weight, model.weight)
    (checkpoints.path(saved[0]) / WEIGHTS).stat()
    for step in saved[:-1]:
        checkpoints.path(step).rename(small_disk / f".{step:08}.old")  # a killed prune leaves this
    if len(saved) > 1:
        checkpoints.save(TrainingProgress(step=saved[-1] + 1), model, states)
        assert checkpoints.steps() == [saved[-1], saved[-1] + 1]
