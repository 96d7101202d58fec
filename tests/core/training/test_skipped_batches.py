"""The file of skipped batches, with its present name and with its name in earlier versions."""

import json
from pathlib import Path

from seqx.data.loader import Position
from seqx.training.recovery.divergence import Divergence, UpdateRef
from seqx.training.recovery.skipped_batches import SkippedBatches

OLD = {"why": "spike", "from": 8, "to": 4, "said": "rolling back", "batches": [[0, 6], [0, 7]]}


def test_skipped_batches_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    old_file = tmp_path / "passed_over.json"
    old_file.write_text(json.dumps({"format": 1, "returns": [OLD]}), encoding="utf-8")
    skipped = SkippedBatches(tmp_path)
    assert (skipped.rollbacks, skipped.messages(4)) == (1, ["rolling back"])
    assert skipped.positions == {Position(0, 6), Position(0, 7)}
    divergence = Divergence(kind="nonfinite", updates=[UpdateRef(9, Position(1, 2))])
    skipped.add(divergence, back_to=8, message="again")
    reread = SkippedBatches(tmp_path)
    assert reread.positions == {Position(0, 6), Position(0, 7), Position(1, 2)}
    stored = json.loads((tmp_path / "skipped_batches.json").read_text(encoding="utf-8"))["returns"]
    assert stored[0] == OLD
    assert reread.restored_steps == [4, 8]
    undone = [reread.undone(step) for step in (5, 9, 10)]
    assert [None if each is None else [*each.earlier] for each in undone] == [[], [4], None]
