"""Several processes answer together: each gets all answers, and the counts of all processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import seqx
from seqx.inference import Predictor
from seqx.parallel import SINGLE_PROCESS, World
from seqx_search import Beam, Greedy
from tests.core.inference.test_predictor import CPU, LINES, Letters, Watched
from tests.core.parallel.crew import crew
from tests.models import PARSING, write_model

TEXTS = [*LINES, "aabb caa"]  # the last is answered in two parts


class Counting(Letters):
    """Counts its answers, and the letters that it reads."""

    def counts(self, text: str, answers: Sequence[Sequence[int]]) -> Mapping[str, int]:
        return {"answers": len(answers), "letters": len(text.replace(" ", ""))}


def counted(world: World) -> Any:
    """Return the answers of a greedy search, its counts, and those of a beam with three answers each."""
    greedy = Predictor(Counting(), Watched(), Greedy(), device=CPU, world=world)
    beam = Predictor(Counting(), Watched(), Beam(size=3, nbest=3), device=CPU, world=world)
    each = [dict(answers.counts) for answers in greedy.hypotheses(TEXTS, 4)]
    return greedy.counted(TEXTS), beam.counted(TEXTS)[1], each


def test_counts_are_those_of_all_processes(tmp_path: Path) -> None:
    alone = counted(SINGLE_PROCESS)
    assert alone[0][1] == {"answers": 9, "letters": 25}
    assert alone[1]["answers"] > 9
    assert [alone[2][0], alone[2][1], alone[2][-1]] == [
        {"answers": 1, "letters": 3},
        {},
        {"answers": 2, "letters": 7},
    ]
    left = crew(2, counted, tmp_path)
    assert [each.code for each in left] == [0, 0], left
    assert [each.answer for each in left] == [alone, alone]


def test_the_share_of_valid_trees_is_that_of_all_processes(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", text=PARSING)
    predictor = seqx.load(model, device="cpu", precision="fp32", overrides=["task.constrained=false"])
    predictor.task.fetch(tmp_path, lambda *_: None)

    def judged(world: World) -> Any:
        predictor.world = world
        evaluation = predictor.task.evaluate(predictor, "dev")
        return evaluation.scores["valid"], predictor.task.remarks(predictor.counted(["The dog sleeps ."])[1])

    alone = judged(SINGLE_PROCESS)
    assert "repaired:6|outputs:6" in alone[0].signature
    assert alone[1] == ("1 of 1 outputs were no trees over the words; they were made trees",)
    left = crew(2, judged, tmp_path)
    assert [each.code for each in left] == [0, 0], left
    assert [each.answer for each in left] == [alone, alone]
