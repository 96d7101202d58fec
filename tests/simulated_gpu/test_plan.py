"""`seqx plan` measures a recipe on the simulated GPU."""

import json
from pathlib import Path

import pytest
import torch

from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.stories.tiny import done, tiny


def test_plan_measures_memory_and_speed_of_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SimulatedGpu() as gpu:
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 10**6)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 10**9))
        found = json.loads(done("plan", tiny(), "--seconds", "0", "--json"))
        assert not gpu.mixes
    assert found["memory"]["available"] == 10**9
    assert found["memory"]["fits"]
