"""Runs with weights in bf16 and a master copy in fp32, on a CPU."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.stories.tiny import STOPPER, TINY, done, lines, refused, seqx, tiny, weights

RECIPE = f"plugins: [stopper.py]\n{TINY}".replace("callbacks: [", "callbacks: [stopper, ")
BF16 = ["training.precision=bf16", "search.size=1", "search.extra=5"]
MASTER = [*BF16, "training.weight_precision=bf16"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stopper.py").write_text(STOPPER, encoding="utf-8")


def losses(folder: str) -> list[float]:
    return [row["loss"] for row in lines(Path(folder), "update")]


def test_bf16_weights_train_almost_the_same_and_resume_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(RECIPE)
    done("run", recipe, "--device", "cpu", "--folder", "fp32", *BF16)
    done("run", recipe, "--device", "cpu", "--folder", "bf16", *MASTER)
    assert losses("bf16") == pytest.approx(losses("fp32"), rel=0.01)
    assert losses("bf16") != losses("fp32")
    monkeypatch.setenv("STOP_AT", "3")
    seqx("run", recipe, "--device", "cpu", "--folder", "resumed", *MASTER)
    assert len(losses("resumed")) == 3
    monkeypatch.delenv("STOP_AT")
    done("run", recipe, "--device", "cpu", "--folder", "resumed", *MASTER)
    assert losses("resumed") == losses("bf16")
    expected, resumed = weights(Path("bf16/model")), weights(Path("resumed/model"))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    saved = load_file(next(Path("bf16/checkpoints").iterdir()) / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in saved.values())


def test_bf16_weights_are_refused_with_products_in_fp32() -> None:
    message = refused("check", tiny(TINY), "training.weight_precision=bf16")
    assert "weight_precision is bf16, but precision is fp32; set precision: bf16" in message
