"""Commands import only the packages that they need: imports take most of the time of a short command."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.provenance import ROOT
from tests.models import write_model

COMPILER = ("torch._dynamo", "torch._inductor", "sympy")
METRICS = ("sacrebleu", "sacremoses", "nltk", "rouge_score")
VIEWS = ("rich", "tensorboard", "matplotlib")
FORBIDDEN = (*COMPILER, *METRICS, *VIEWS, "jsonschema", "packaging.requirements")

PROFILES = (
    *("encoder_lstm", "decoder_bahdanau", "decoder_convolution", "additive", "linear", "grouped_query"),
    *("learned", "rotary", "alibi", "t5", "combined", "convolutions", "kaiming"),
)
"""Profiles of compare_components whose components have initial values or checks of their own."""

PROGRAM = """
import atexit, json, sys
from seqx_toolkit import main
modules = sys.argv.pop(1)
atexit.register(lambda: json.dump(list(sys.modules), open(modules, "w")))
main()
"""


def imported(folder: Path, *arguments: str | Path, text: str = "") -> set[str]:
    """Return the modules that a command imports in a new interpreter."""
    modules = folder / "modules.json"
    command = [sys.executable, "-c", PROGRAM, modules, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(modules.read_text(encoding="utf-8")))


def recipes(folder: Path) -> list[Path]:
    """Write a recipe for each profile of PROFILES, and for each included optimizer."""
    file = ROOT / "recipes" / "compare_components.yaml"
    profiles = yaml.safe_load(file.read_text(encoding="utf-8"))["profiles"]
    trees: dict[str, Any] = {name: profiles[name] for name in PROFILES}
    for optimizer in ("adamw", "adafactor", "muon"):
        trees[optimizer] = {"training": {"optimizer": optimizer}}
    for name, tree in trees.items():
        text = yaml.safe_dump({"extends": str(file), **tree})
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return [folder / f"{name}.yaml" for name in trees]


def forbidden(modules: Collection[str], *others: str) -> list[str]:
    return [name for name in (*FORBIDDEN, *others) if name in modules]


@pytest.mark.slow
def test_check_imports_no_compiler_and_no_metric(tmp_path: Path) -> None:
    modules = imported(tmp_path, "check", "wmt_en_de", *recipes(tmp_path))
    assert {"torch", "seqx_recurrent", "seqx_convolution"} <= modules
    assert forbidden(modules, "sentencepiece", "torch.utils.tensorboard") == []


@pytest.mark.slow
def test_translate_imports_no_compiler_and_no_metric(tmp_path: Path) -> None:
    modules = imported(tmp_path, "translate", write_model(tmp_path / "model"), text="The house is old.\n")
    assert {"torch", "sentencepiece"} <= modules
    assert forbidden(modules) == []
