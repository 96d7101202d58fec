"""The choice of the candidates, and their file, which keeps the older name "figure" of a score."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from seqx.interfaces.scores import ValidationScore
from seqx.storage import manifest, weights
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.weights import WEIGHTS
from seqx.training.candidates import COMPARED, WeightsCandidate, candidates, read_compared, write_compared

SCORE = {"name": "bleu", "value": 37.6, "rank": 37.6, "at_worst": False, "perplexity": 4.5}
STORED = {"kind": "last", "steps": [400], "figure": SCORE}
CANDIDATE = WeightsCandidate(
    kind="last",
    steps=(400,),
    score=ValidationScore(name="bleu", value=37.6, rank=37.6, at_worst=False, perplexity=4.5),
)


def test_compared_candidates_are_read_with_the_stored_name_of_the_score(tmp_path: Path) -> None:
    text = json.dumps({"candidates": [STORED, STORED | {"figure": None}]})
    (tmp_path / COMPARED).write_text(text, encoding="utf-8")
    first, second = read_compared(tmp_path)
    assert first == CANDIDATE
    assert str(first) == "last checkpoint (update 400): bleu 37.60, perplexity 4.5"
    assert second.score is None


def test_compared_candidates_are_written_with_the_stored_name_of_the_score(tmp_path: Path) -> None:
    write_compared(tmp_path, [CANDIDATE, CANDIDATE])
    assert json.loads((tmp_path / COMPARED).read_text(encoding="utf-8")) == {"candidates": [STORED, STORED]}
    assert read_compared(tmp_path) == [CANDIDATE, CANDIDATE]


def test_candidates_read_each_checkpoint_once_and_average_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 10 is the best one; step 30 is damaged, so step 40 and step 20 are averaged."""
    checkpoints = Checkpoints(tmp_path)
    for step, value in ((10, 50.0), (20, 20.0), (30, 45.0), (40, 30.0)):
        score = ValidationScore(name="bleu", value=value, rank=value, at_worst=False, perplexity=4.0)
        checkpoints.save(TrainingProgress(step=step), nn.Linear(2, 2), {}, score=score)
    damaged = checkpoints.path(30) / WEIGHTS
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    hashed, warnings = Counter[str](), list[str]()
    sha256 = manifest.sha256

    def count(file: Path) -> str:
        hashed[file.parent.name] += file.name == WEIGHTS
        return sha256(file)

    def refuse(file: str) -> None:
        raise AssertionError(f"{file}: its tensors are loaded")

    monkeypatch.setattr(manifest, "sha256", count)
    monkeypatch.setattr(weights, "load_file", refuse)
    config: Any = SimpleNamespace(average=2, order="last")
    found = candidates(checkpoints, config, warnings.append)
    assert [(each.kind, each.steps) for each in found] == [
        ("average", (20, 40)),
        ("last", (40,)),
        ("best", (10,)),
    ]
    assert hashed == {f"000000{step}": 1 for step in (10, 20, 30, 40)}
    assert [line.rpartition("; it is not averaged")[2] for line in warnings] == [
        "; it was renamed to 00000030.damaged"
    ]
