"""The number of processes that sample segmentations beside training."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqx import build


@pytest.mark.parametrize(
    ("setting", "device", "ranks", "expected"),
    [
        (None, "cpu", 1, 0),
        (3, "cpu", 1, 3),
        (None, "cuda", 1, 8),
        (None, "cuda", 4, 2),
        (None, "cuda", 12, 0),
    ],
)
def test_sampling_processes_use_the_cpus_that_training_leaves(
    setting: int | None, device: str, ranks: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    monkeypatch.setattr(build, "cpus", lambda: 12)
    monkeypatch.setattr(build, "can_start_processes", lambda: True)
    context: Any = SimpleNamespace(
        config=SimpleNamespace(sampling_processes=setting), device=torch.device(device)
    )
    assert build.sampling_processes(context) == expected


def test_training_samples_itself_if_the_main_script_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "cpus", lambda: 12)
    monkeypatch.setattr("seqx.runtime.main_guard._script", lambda: "/missing/script.py")
    context: Any = SimpleNamespace(
        config=SimpleNamespace(sampling_processes=None), device=torch.device("cuda")
    )
    assert build.sampling_processes(context) == 0
