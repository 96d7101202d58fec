"""Several ranks answer together: each gets all answers and the warnings of all ranks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import seqx
from seqx.inference import Predictor
from seqx.parallel import SINGLE_PROCESS, World
from seqx.testing.ranks import run_on_ranks
from seqx_search import Beam, Greedy
from tests.core.inference.test_predictor import CPU, LINES, Letters, RecordingModel
from tests.models import PARSING, write_model

TEXTS = [*LINES, "aabb caa"]  # the last text is answered in two parts


class CountingTask(Letters):
    """A task whose warning counts answers and input letters."""

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[seqx.AnswerWarning]:
        return [seqx.AnswerWarning("answers", len(answers), len(text.replace(" ", "")))]


def count(nbests: Iterable[seqx.NBest]) -> tuple[int, int]:
    """Return the sums of the warning of `CountingTask`: answers, and letters of the inputs."""
    sums = {warning.message: warning for warning in seqx.sum_warnings(nbests)}
    return (sums["answers"].count, sums["answers"].total) if "answers" in sums else (0, 0)


def answers_and_counts(world: World) -> Any:
    """Return the answers and counts of greedy search, the counts of beam search, and those of each text."""
    greedy = Predictor(CountingTask(), RecordingModel(), Greedy(), device=CPU, world=world)
    beam = Predictor(CountingTask(), RecordingModel(), Beam(size=3, nbest=3), device=CPU, world=world)
    each = [count([nbest]) for nbest in greedy.hypotheses(TEXTS, 4)]
    return (greedy(TEXTS), count(greedy.hypotheses(TEXTS))), count(beam.hypotheses(TEXTS)), each


def test_warnings_are_summed_over_all_ranks(tmp_path: Path) -> None:
    alone = answers_and_counts(SINGLE_PROCESS)
    assert alone[0][1] == (9, 25)
    assert alone[1][0] > 9
    assert [alone[2][0], alone[2][1], alone[2][-1]] == [(1, 3), (0, 0), (2, 7)]
    exits = run_on_ranks(2, answers_and_counts, tmp_path)
    assert [each.code for each in exits] == [0, 0], exits
    assert [each.result for each in exits] == [alone, alone]


def test_valid_score_counts_the_trees_of_all_ranks(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", text=PARSING)
    predictor = seqx.load(model, device="cpu", precision="fp32", overrides=["task.constrained=false"])
    predictor.task.fetch(tmp_path, lambda *_: None)

    def evaluate(world: World) -> Any:
        shared = Predictor(
            predictor.task, predictor.model, predictor.search, device=predictor.device, world=world
        )
        evaluation = shared.task.evaluate(shared, shared.task.read_split("dev"))
        warnings = seqx.sum_warnings(shared.hypotheses(["The dog sleeps ."]))
        return evaluation.scores["valid"], [str(warning) for warning in warnings if warning.count]

    alone = evaluate(SINGLE_PROCESS)
    assert "repaired:6|outputs:6" in alone[0].signature
    assert alone[1] == ["1 of 1 outputs were not valid trees over the words; they were repaired"]
    exits = run_on_ranks(2, evaluate, tmp_path)
    assert [each.code for each in exits] == [0, 0], exits
    assert [each.result for each in exits] == [alone, alone]
