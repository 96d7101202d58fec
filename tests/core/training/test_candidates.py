"""The file of the compared candidates, which keeps the older name "figure" of a score."""

import json
from pathlib import Path

from seqx.interfaces.scores import ValidationScore
from seqx.training.candidates import COMPARED, WeightsCandidate, read_compared, write_compared

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
