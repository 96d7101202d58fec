"""Limits on the parts of the core, and on the files that one update and one translated sentence execute."""

import ast
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import structure
from seqx import build, experiment
from seqx.training import trainer
from tests.forked import ForkedIfSeqx


@pytest.fixture(scope="module")
def traced() -> Mapping[str, list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", ForkedIfSeqx)
        return structure.trace()


@pytest.fixture(scope="module")
def parts() -> structure.Parts:
    return structure.read_parts()


def test_core_has_at_most_21_parts(parts: structure.Parts) -> None:
    assert len(parts) <= 21


def test_parts_do_not_import_each_other_in_cycles(parts: structure.Parts) -> None:
    assert structure.levels(parts).keys() == parts.keys()


def test_cycle_of_imports_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^cycle of imports: data -> tasks -> data$"):
        structure.levels({"data": Counter(["tasks"]), "tasks": Counter(["data"])})


@pytest.mark.slow
def test_update_executes_at_most_20_files(traced: Mapping[str, list[str]]) -> None:
    files = traced["an update"]
    assert {"seqx/training/loop.py", "plugins/seqx_transformer/transformer.py"} <= set(files)
    assert len(files) <= 20, "\n".join(files)


@pytest.mark.slow
def test_translated_sentence_executes_at_most_15_files(traced: Mapping[str, list[str]]) -> None:
    files = traced["a sentence"]
    assert {"seqx/inference/predictor.py", "plugins/seqx_search/beam.py"} <= set(files)
    assert len(files) <= 15, "\n".join(files)


@pytest.mark.slow
def test_predictor_reaches_search_in_at_most_7_frames(traced: Mapping[str, list[str]]) -> None:
    frames = traced["frames from the predictor to the search"]
    assert frames[0].endswith("Predictor.__call__")
    assert frames[-1].endswith("Beam.__call__")
    assert len(frames) <= 7, "\n".join(frames)


def test_functions_that_build_a_run_have_at_most_40_lines() -> None:
    tree = ast.parse(Path(build.__file__).read_text(encoding="utf-8"))
    lengths = {
        node.name: 1 + (node.end_lineno or 0) - node.lineno
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    assert {"build_task", "build_data", "build_model", "build_trainer"} <= lengths.keys()
    assert {name: length for name, length in lengths.items() if length > 40} == {}


@pytest.mark.parametrize(
    ("module", "limit"), [(experiment, 120), (trainer, 280)], ids=["experiment", "trainer"]
)
def test_module_that_readers_start_with_is_short(module: ModuleType, limit: int) -> None:
    assert module.__file__ is not None
    assert len(Path(module.__file__).read_text(encoding="utf-8").splitlines()) <= limit
