"""Initial weights, early stopping, pruning of checkpoints, and selection of the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from seqx.storage import weights
from seqx.storage.checkpoints import Checkpoints
from tests.stories.tiny import TINY, done, lines, refused, seqx, tiny


def losses(run: str) -> list[float]:
    return [row["loss"] for row in lines(Path("runs", run), "update")]


def test_init_from_starts_with_weights_and_vocabulary_of_another_model() -> None:
    no_dropout = TINY.replace("heads: 2}}", "heads: 2}, dropout: 0.0}")
    done(
        "run",
        tiny(no_dropout, "first.yaml"),
        "training.steps=30",
        "training.validate_every=30",
        "training.average=1",
    )
    trained = losses("first")
    assert trained[-1] < trained[0] - 2
    again = tiny(no_dropout, "again.yaml")
    done("run", again, "training.init_from=runs/first", "training.steps=1")
    assert losses("again")[0] == pytest.approx(trained[-1], abs=1)

    # With other text, the vocabulary is still that of the model.
    done(
        "run",
        again,
        "training.init_from=runs/first",
        "training.steps=1",
        "task.corpus.seed=2",
        "--folder",
        "runs/other",
    )
    names = ("first", "other")
    first, other = (
        Path("runs", name, "model/task/tokenizer/sentencepiece.model").read_bytes() for name in names
    )
    assert first == other
    assert losses("other")[0] == pytest.approx(trained[-1], abs=1.5)

    message = refused(
        "run", again, "training.init_from=runs/first", "model.d_model=16", "--folder", "runs/wrong"
    )
    assert message == (
        "training.init_from=runs/first: the model in runs/first/model has other sizes or parts than "
        "that of this recipe; make these settings equal:\n"
        "  model.d_model: 32 in the model, 16 in this recipe\n"
    )
    message = refused("run", again, "training.init_from=runs/nothing", "--folder", "runs/wrong")
    assert message.startswith("training.init_from=runs/nothing: runs/nothing: there is no such folder")
    assert not Path("runs/wrong/recipe.yaml").exists()


@pytest.mark.promise("prune-after-verification")
def test_old_checkpoints_are_pruned_after_the_new_one_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    order = list[str]()
    original_verify, original_prune = weights._verify, Checkpoints.prune

    def verify(new: Path, *, path: Path) -> None:
        original_verify(new, path=path)
        order.append(f"verify {path.name}")

    def prune(self: Checkpoints, keep: int, **options: Any) -> None:
        order.append(f"before pruning {self.steps()}")
        original_prune(self, keep, **options)
        order.append(f"after pruning {self.steps()}")

    monkeypatch.setattr(weights, "_verify", verify)
    monkeypatch.setattr(Checkpoints, "prune", prune)
    done("run", tiny(), "training.keep_checkpoints=1", "training.average=1", "training.save_every=3")
    assert order == [
        *("verify 00000003", "before pruning [3]", "after pruning [3]"),
        *("verify 00000006", "before pruning [3, 6]", "after pruning [6]"),
        *("before pruning [6]", "after pruning [6]"),  # in case that the process was killed in between
        "verify model",
    ]


def test_patience_stops_and_the_best_checkpoint_becomes_the_model() -> None:
    # The learning rate is almost zero, so no validation is better than the first one.
    done(
        *("run", tiny(), "training.steps=30", "training.validate_every=2", "training.patience=2"),
        *(
            "training.select=best",
            "training.average=1",
            "training.keep_checkpoints=2",
            "training.schedule.peak=1e-12",
        ),
    )
    run = Path("runs/tiny")
    validated = [row["step"] for row in lines(run, "evaluation")]
    assert validated[:3] == [2, 4, 6]  # the second and the third are not better than the first
    assert lines(run, "update")[-1]["step"] == 6
    steps = [int(path.name) for path in sorted((run / "checkpoints").iterdir())]
    scores = {
        step: json.loads((run / f"checkpoints/{step:08}/checkpoint.json").read_text())["score"]
        for step in steps
    }
    best = json.loads((run / "model" / "model.json").read_text())["steps"]
    assert len(best) == 1
    assert scores[best[0]] == max(scores.values())


def test_best_checkpoint_is_saved_at_any_validation() -> None:
    done(
        *("run", tiny(), "training.steps=9", "training.validate_every=3", "training.save_every=100"),
        *("training.select=best", "training.average=3", "training.keep_checkpoints=3"),
    )
    assert done("average", "runs/tiny", "--best", "3").endswith("the mean of steps 3, 6, 9\n")


def test_run_needs_its_initial_model_only_until_its_first_checkpoint() -> None:
    done("run", tiny(TINY, "first.yaml"))
    fine: list[str | Path] = [
        "run",
        tiny(TINY, "fine.yaml"),
        "training.init_from={model: runs/first, freeze: [decoder]}",
    ]
    longer: list[str | Path] = [*fine, "training.steps=8"]
    done(*fine)
    shutil.copytree("runs/fine", "runs/with")
    done(*longer, "--folder", "runs/with")
    Path("runs/first").rename("moved")

    assert done(*fine) == done(*fine)  # a finished run only prints its scores
    for command in (["report", "runs/fine"], ["compare", "runs/fine", "moved"], ["inspect", "runs/fine"]):
        assert "not finished" not in done(*command)
    assert "not finished" not in Path("runs/fine/report.html").read_text()
    assert "those with which the run made this update" in done("replay", "runs/fine", "5")
    message = refused("replay", "runs/fine", "1")
    assert message.startswith("training.init_from: runs/first: there is no such folder; name a model folder")
    stderr = seqx(*longer).stderr
    assert (
        "training.init_from.old_test: the scores on the test set of runs/first are unknown (runs/first: "
        in stderr
    )
    assert "initial model on the test set are unknown (training.init_from: runs/first: there is no" in stderr
    same = [Path("runs", run, "model", weights.WEIGHTS).read_bytes() for run in ("with", "fine")]
    assert same[0] == same[1]

    for checkpoint in Path("runs/fine/checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    assert "training.init_from: runs/first: there is no such folder" in refused(*fine, "training.steps=9")
