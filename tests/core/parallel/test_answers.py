"""Several ranks answer together: each gets all answers and the warnings of all ranks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import seqx
from seqx.inference import Predictor
from seqx.parallel import SINGLE_PROCESS, World
from seqx_search import Beam, Greedy
from tests.core.inference.test_predictor import CPU, LINES, Letters, RecordingModel
from tests.core.parallel.crew import crew
from tests.models import PARSING, write_model

TEXTS = [*LINES, "aabb caa"]  # the last is answered in two parts


class Counting(Letters):
    """Counts its answers, and the letters that it reads."""

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        return [seqx.AnswerWarning("answers", len(answers), len(text.replace(" ", "")))]


def count(nbests: Iterable[seqx.NBest]) -> tuple[int, int]:
    """Return the sums of the warning of `Counting`: the answers, and the letters of the inputs."""
    sums = {warning.message: warning for warning in seqx.sum_warnings(nbests)}
    return (sums["answers"].count, sums["answers"].total) if "answers" in sums else (0, 0)


def counted(world: World) -> Any:
    """Return the answers and counts of a greedy search, and the counts of a beam with three answers each."""
    greedy = Predictor(Counting(), RecordingModel(), Greedy(), device=CPU, world=world)
    beam = Predictor(Counting(), RecordingModel(), Beam(size=3, nbest=3), device=CPU, world=world)
    each = [count([nbest]) for nbest in greedy.hypotheses(TEXTS, 4)]
    return (greedy(TEXTS), count(greedy.hypotheses(TEXTS))), count(beam.hypotheses(TEXTS)), each


def test_warnings_are_summed_over_all_ranks(tmp_path: Path) -> None:
    alone = counted(SINGLE_PROCESS)
    assert alone[0][1] == (9, 25)
    assert alone[1][0] > 9
    assert [alone[2][0], alone[2][1], alone[2][-1]] == [(1, 3), (0, 0), (2, 7)]
    left = crew(2, counted, tmp_path)
    assert [each.code for each in left] == [0, 0], left
    assert [each.answer for each in left] == [alone, alone]


def test_valid_score_counts_the_trees_of_all_ranks(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", text=PARSING)
    predictor = seqx.load(model, device="cpu", precision="fp32", overrides=["task.constrained=false"])
    predictor.task.fetch(tmp_path, lambda *_: None)

    def judged(world: World) -> Any:
        together = Predictor(
            predictor.task, predictor.model, predictor.search, device=predictor.device, world=world
        )
        evaluation = together.task.evaluate(together, together.task.read_split("dev"))
        warnings = seqx.sum_warnings(together.hypotheses(["The dog sleeps ."]))
        return evaluation.scores["valid"], [str(warning) for warning in warnings if warning.count]

    alone = judged(SINGLE_PROCESS)
    assert "repaired:6|outputs:6" in alone[0].signature
    assert alone[1] == ["1 of 1 outputs were not valid trees over the words; they were repaired"]
    left = crew(2, judged, tmp_path)
    assert [each.code for each in left] == [0, 0], left
    assert [each.answer for each in left] == [alone, alone]
