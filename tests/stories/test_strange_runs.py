"""Run folders with malformed or unexpected files: one message each."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqx.training.recovery.divergence import DivergenceDetector
from tests import forked
from tests.stories.tiny import TINY, done, lines, refused, seqx, tiny

pytestmark = pytest.mark.promise("invalid-run-files")

RUN = Path("runs/tiny")
RETURN = {"why": "spike", "from": 3, "said": "rolled back", "batches": [[0, 2]]}


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("model/scores.json", {"dev": 3}, "dev: "),
        ("model/scores.json", {"dev": {"bleu": 3}}, "dev.bleu: "),
        ("model/scores.json", [], "not a JSON object"),
        ("model/recipe.yaml", {"a": 3}, "it has no training.steps"),
        ("model/recipe.yaml", {"training": {"steps": "many"}}, "it has no training.steps"),
        ("data.json", {"sha256": 3}, "sha256: "),
        ("environment.json", {"plugins": {"text": 3}}, "plugins.text: "),
        ("limit.json", {"processes": 1, "places": "many"}, "places: "),
        ("skipped_batches.json", {"returns": [RETURN]}, "returns.0.to: "),
        ("passed_over.json", {"returns": [RETURN]}, "returns.0.to: "),  # of earlier versions
    ],
)
def test_malformed_files_of_a_run_are_named(
    name: str, text: object, where: str, finished: Callable[..., Path]
) -> None:
    recipe, _ = tiny(), finished()
    (RUN / name).write_text(json.dumps(text), encoding="utf-8")
    more = () if name.startswith("model") else ("training.steps=8",)  # a resumed run reads more files
    message = refused("run", recipe, *more).splitlines()[-1]
    assert f"{RUN / name}: cannot be read ({where}" in message


def test_other_files_among_checkpoints_are_ignored(finished: Callable[..., Path]) -> None:
    recipe, _ = tiny(), finished("training.steps=4")
    for name in ("5", "\u00b2", "0000000x"):
        Path(RUN, "checkpoints", os.fsdecode(name.encode())).mkdir()
    done("run", recipe)
    assert [row["step"] for row in lines(RUN, "start")] == [0, 4]


def test_malformed_state_in_a_checkpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(TINY.replace("average: 2", "average: 1"))
    with monkeypatch.context() as patch:
        patch.setattr(DivergenceDetector, "state_dict", lambda _: {"norms": 3})
        done("run", recipe)
    message = refused("run", recipe, "training.steps=8").splitlines()[-1]
    assert message.startswith(
        f"{RUN / 'checkpoints' / '00000006'}: the state of training.watch does not fit DivergenceDetector ("
    )


def test_run_with_closed_standard_error_prints_scores_and_logs() -> None:
    def close() -> None:
        """Do what `2>&-` does: file descriptor 2 is free, and the interpreter has no standard error."""
        os.close(2)
        vars(sys)["stderr"] = None

    recipe = tiny()
    closed = forked.run("run", recipe, "--folder", "closed", before=close)
    assert closed.returncode == 0
    assert closed.stdout == seqx("run", recipe).stdout.replace(str(RUN), "closed")
    assert "step 6/6" in Path("closed/log.txt").read_text(encoding="utf-8")
