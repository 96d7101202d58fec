"""`--device cpu` does not initialise CUDA on a machine with GPUs."""

from pathlib import Path

import pytest
import torch

from seqx.run_record import Record
from tests.stories.tiny import done, tiny


def test_device_cpu_does_not_initialise_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run, resume, translate and evaluate with `--device cpu`."""
    initialised: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for module in (torch.cuda, torch.cuda.random):
        monkeypatch.setattr(module, "device_count", lambda: 2)
        monkeypatch.setattr(module, "_lazy_init", lambda: initialised.append(True))
    recipe = tiny()
    done("run", recipe, "--device", "cpu", "training.steps=4")
    done("run", recipe, "--device", "cpu", "training.steps=6", "training.precision=fp32")
    model = Path("runs/tiny/model")
    done("translate", model, "--device", "cpu", text="Emma is sick.\n")
    done("evaluate", model, "--device", "cpu")
    assert not initialised
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    assert Record.read(Path("runs/tiny")).environment["gpu"] is None
