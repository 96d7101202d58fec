"""Runs on a CPU do not initialise CUDA, and use the fastest matrix products."""

from pathlib import Path

import pytest
import torch

from seqx.run_record import Record
from seqx.runtime import matrix_products
from seqx.runtime.matrix_products import OneDNNProducts
from tests.stories.tiny import TINY, done, tiny


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


def test_float32_run_multiplies_with_the_fastest_library(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = list[tuple[str, str]]()
    rows = set[int]()

    def spied(device: torch.device, precision: str) -> OneDNNProducts:
        requests.append((device.type, precision))
        return OneDNNProducts(copy_from=0)

    monkeypatch.setattr("seqx.experiment.fast_products", spied)
    monkeypatch.setattr(matrix_products, "SMALLEST", 1)
    product = matrix_products._onednn

    def recorded(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        rows.add(len(a))
        return product(a, b, bias)

    monkeypatch.setattr(matrix_products, "_onednn", recorded)
    done(
        "run", tiny(TINY.replace("dev: 6, test: 6", "dev: 1, test: 1")), "--device", "cpu", "training.steps=2"
    )
    assert requests == [("cpu", "fp32")]
    assert rows
