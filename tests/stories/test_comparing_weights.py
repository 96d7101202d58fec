"""Selection of the model at the end of a run: average, last and best checkpoint are compared."""

import math
import os
import signal
from pathlib import Path

import pytest
import torch

from seqx.storage.weights import average
from seqx.training.validation import Validator
from tests.stories.scripted import read_candidates, read_strict_json, scripted, used_scores
from tests.stories.tiny import done, lines, seqx, weights

RUN = Path("runs/tiny")


def is_mean(*steps: int) -> bool:
    """Return true if the model is the mean of these checkpoints."""
    files = [RUN / "checkpoints" / f"{step:08}" / "model.safetensors" for step in steps]
    mean, model = average(files), weights(RUN / "model")
    assert read_strict_json(RUN / "model" / "model.json")["steps"] == list(steps)
    return all(torch.equal(tensor, mean[name]) for name, tensor in model.items())


def test_last_checkpoint_becomes_the_model_if_the_average_is_worse() -> None:
    recipe = scripted(10, 30, 20, 31, 32)
    printed = done("run", recipe)
    assert is_mean(6)
    assert read_candidates(RUN) == [("last", [6], 30), ("average", [3, 6], 20)]
    assert used_scores() == [10, 30, 20, 31, 32]  # two validations, the average, the model on dev and test
    assert "dev scripted 31.00  scripted\n" in printed
    assert "the model is the last checkpoint (update 6): scripted 30.00, perplexity " in printed
    assert "compared with the average (updates 3, 6): scripted 20.00, perplexity " in printed
    again = done("run", recipe)
    assert again == f"{RUN}: this run is finished; its scores:\n{printed}"
    assert "tiny: the model is the last checkpoint (update 6): scripted 30.00" in done("compare", RUN)
    # Callbacks are notified of validations and of the finished model only.
    assert [(row["split"], row["scores"]["scripted"]["value"]) for row in lines(RUN, "evaluation")] == [
        *(("dev", 10.0), ("dev", 30.0), ("dev", 31.0), ("test", 32.0))
    ]


@pytest.mark.parametrize("average", [40, 30])  # in a tie the average is selected
def test_better_average_becomes_the_model_and_is_scored_once(average: int) -> None:
    printed = done("run", scripted(10, 30, average, 35))
    assert is_mean(3, 6)
    assert read_candidates(RUN) == [("average", [3, 6], average), ("last", [6], 30)]
    assert used_scores() == [10, 30, average, 35]
    assert f"dev scripted {average}.00" in printed
    assert "test scripted 35.00" in printed


def test_best_checkpoint_is_kept_and_may_become_the_model() -> None:
    done("run", scripted(50, 30, 40, 20, steps=9))
    assert is_mean(3)
    assert read_candidates(RUN) == [("best", [3], 50), ("average", [6, 9], 20), ("last", [9], 40)]


def test_single_checkpoints_are_compared_without_an_average() -> None:
    done("run", scripted(50, 30, 50, 51, keep_checkpoints=1, average=1))
    assert is_mean(3)
    assert read_candidates(RUN) == [("best", [3], 50), ("last", [6], 30)]
    assert used_scores() == [50, 30, 50, 51]  # two validations, the model on dev and test


def test_checkpoints_with_equal_weights_are_not_compared() -> None:
    printed = done("run", scripted(10, 30, 31, 32, average=1))
    assert is_mean(6)
    assert not (RUN / "model" / "compared.json").exists()
    assert "the model is the" not in printed
    assert used_scores() == [10, 30, 31, 32]


def test_selection_by_a_score_that_is_better_if_lower() -> None:
    done("run", scripted(9, 5, 7, lower_is_better=True))
    assert is_mean(6)
    assert read_candidates(RUN) == [("last", [6], 5), ("average", [3, 6], 7)]


def test_selection_by_the_score_that_the_recipe_names() -> None:
    """The scores are best for the average; its perplexity is not."""
    done("run", scripted(10, 30, 40, select={"by": "perplexity"}))
    found = read_candidates(RUN)
    assert [kind for kind, _, _ in found] == ["last", "average"]
    assert found[0][2] < found[1][2]
    assert is_mean(6)


def test_selection_by_perplexity_while_all_scores_are_zero() -> None:
    done("run", scripted(0, 0, 0))
    assert is_mean(6)  # perplexity falls quickly, and an average lags behind
    assert [value for _, _, value in read_candidates(RUN)] == [0, 0]


def test_nan_is_the_worst_score() -> None:
    done("run", scripted(10, math.nan, 20))
    assert read_candidates(RUN) == [("average", [3, 6], 20), ("last", [6], "NaN"), ("best", [3], 10)]
    for file in RUN.rglob("*.json"):
        read_strict_json(file)


@pytest.mark.parametrize("values", [(math.inf, math.inf, math.inf), (math.nan, math.nan, math.nan)])
def test_scores_of_a_diverged_run_are_kept(values: tuple[float, ...]) -> None:
    recipe = scripted(*values, lower_is_better=True)
    printed = done("run", recipe)
    for file in RUN.rglob("*.json"):
        read_strict_json(file)
    assert done("run", recipe).endswith(printed)
    assert f"dev scripted {values[0]:.2f}" in printed
    assert f" {values[0]:.2f} " in done("compare", RUN)


def test_checkpoints_of_a_moving_average_are_compared() -> None:
    done("run", scripted(10, 30, 20, 31, ema={"decay": 0.5}))
    assert is_mean(6)


@pytest.mark.parametrize("call", [3, 4])  # 3: the average is scored; 4: the model is scored
def test_run_stopped_while_selecting_the_model_resumes(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    done("run", scripted(10, 30, 20, 30), "--folder", "whole")
    real, calls = Validator._score, 0

    def score(self: Validator, split: str) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, split)

    monkeypatch.setattr(Validator, "_score", score)
    recipe = scripted(10, 30, *[20] * (call - 3), 20, 30)
    stopped = seqx("run", recipe)
    assert stopped.exit_code == 75
    assert "the checkpoint of update 6 is kept; run the same command again to continue" in stopped.stderr
    done("run", recipe)
    assert is_mean(6)
    assert (
        read_candidates(RUN) == read_candidates(Path("whole")) == [("last", [6], 30), ("average", [3, 6], 20)]
    )
    assert (RUN / "model" / "scores.json").read_bytes() == Path("whole/model/scores.json").read_bytes()


def test_malformed_comparison_file_gives_one_message() -> None:
    recipe = scripted(10, 30, 20)
    done("run", recipe)
    (RUN / "model" / "compared.json").write_text('{"candidates": [3]}', encoding="utf-8")
    for command in (("run", recipe), ("compare", RUN)):
        result = seqx(*command)
        assert result.exit_code == 2
        assert "compared.json: cannot be read (candidates.0: " in result.stderr
        assert "; restore it, or remove it: only the comparison of the weights is lost\n" in result.stderr
    (RUN / "model" / "compared.json").unlink()
    done("run", recipe)
    done("compare", RUN)
