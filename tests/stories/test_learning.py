"""Runs with R-Drop, Muon, a moving average (EMA) and other schedules: files, and bitwise resumption."""

from pathlib import Path

import pytest
import torch

from seqx.storage import state_dict
from tests.stories.tiny import TINY, done, lines, refused, tiny, weights

R_DROP_AND_MUON = TINY
for before, after in {
    "{type: cross_entropy, smoothing: 0.1}": "{type: r_drop, alpha: 2}",
    "{type: adam, betas: [0.9, 0.98], eps: 1e-9}": "{type: muon, ratio: 2}",
}.items():
    assert before in R_DROP_AND_MUON
    R_DROP_AND_MUON = R_DROP_AND_MUON.replace(before, after)
WITH_EMA = R_DROP_AND_MUON.replace("  average: 2\n", "  average: 2\n  ema: {decay: 0.6}\n")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def unaveraged_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the weights that training resumes from, in a run that also saves a moving average."""
    saved = state_dict.read(checkpoint, torch.device("cpu"))
    training_weights: dict[str, torch.Tensor] = saved["training.ema"]["weights"]
    return training_weights


def test_run_with_muon_r_drop_and_ema_resumes_bitwise() -> None:
    first, run = tiny(WITH_EMA, "first.yaml"), Path("runs/first")
    done("run", first, "training.steps=4")
    done("run", first, "training.steps=6")
    assert [row["step"] for row in lines(run, "start")] == [0, 4]
    done("run", tiny(WITH_EMA, "straight.yaml"))
    straight = Path("runs/straight")
    assert same(run / "model", straight / "model")
    assert same(run / "checkpoints/00000006", straight / "checkpoints/00000006")
    ours, theirs = (unaveraged_weights(folder / "checkpoints/00000006") for folder in (run, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    updates = [lines(folder, "update") for folder in (run, straight)]
    assert [row["loss"] for row in updates[0]] == [row["loss"] for row in updates[1]]
    assert all(row["others"]["kl"] > 0 for row in updates[0])


def test_ema_is_saved_and_validated_and_does_not_change_training() -> None:
    done("run", tiny(WITH_EMA, "moving.yaml"), "training.save_every=1", "training.validate_every=1")
    done("run", tiny(R_DROP_AND_MUON, "plain.yaml"), "training.save_every=1", "training.validate_every=1")
    moving, plain = Path("runs/moving"), Path("runs/plain")
    losses = [[row["loss"] for row in lines(folder, "update")] for folder in (moving, plain)]
    assert losses[0] == losses[1]
    decays = [min(0.6, (1 + t) / (10 + t)) for t in range(6)]
    # The last five of six checkpoints are kept. Compute the later averages from the average of the second.
    expected = {name: tensor.double() for name, tensor in weights(moving / "checkpoints/00000002").items()}
    for step in (3, 4, 5, 6):
        file = f"checkpoints/{step:08}"
        unaveraged, decay = unaveraged_weights(moving / file), decays[step - 1]
        for name, tensor in weights(moving / file).items():
            assert torch.equal(unaveraged[name], weights(plain / file)[name])
            expected[name] = decay * expected[name] + (1 - decay) * unaveraged[name].double()
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)
            expected[name] = tensor.double()
    fifth, sixth = (weights(moving / f"checkpoints/{step:08}") for step in (5, 6))
    done("average", moving, "--last", "2", "--out", "mean")
    for name, tensor in weights(Path("mean")).items():
        torch.testing.assert_close(tensor, (fifth[name] + sixth[name]) / 2)
    for name, tensor in weights(moving / "model").items():  # the last checkpoint scores higher than the mean
        assert torch.equal(tensor, sixth[name])
    perplexities = [[row["perplexity"] for row in lines(folder, "evaluation")] for folder in (moving, plain)]
    assert perplexities[0][0] == perplexities[1][0]  # the average of one update is that update
    assert perplexities[0][3] > perplexities[1][3]  # an average lags behind while the model improves


@pytest.mark.parametrize("schedule", ["cosine", "linear", "{type: wsd, decay: 0.5}"])
def test_steps_cannot_change_if_the_schedule_depends_on_them(schedule: str) -> None:
    recipe, run = tiny(), Path("runs/tiny")
    setting = f"training.schedule={schedule}"
    done("run", recipe, setting, "training.schedule.warmup=2")
    rates = [row["learning_rate"] for row in lines(run, "update")]
    assert max(rates) > rates[-1] > 0
    first = 4 if "wsd" in schedule else 3
    message = refused("run", recipe, setting, "training.schedule.warmup=2", "training.steps=8")
    assert message == (
        f"{run}: this run has made 6 updates with training.steps=6; training.steps=8 would change the "
        f"learning rates from update {first} on; choose another folder (--folder), or remove the checkpoints "
        f"from step {first} on\n"
    )
    assert "finished" in done("run", recipe, setting, "training.schedule.warmup=2")


def test_steps_can_change_before_the_decay_of_wsd() -> None:
    wsd = (
        "training.schedule={type: wsd, warmup: 2, decay: 0.5}",
        "training.save_every=1",
        "training.keep_checkpoints=6",
    )
    recipe = tiny()
    done("run", recipe, *wsd)
    run = Path("runs/tiny")
    for step in (4, 5, 6):
        (run / f"checkpoints/{step:08}").rename(f"removed-{step}")
    done("run", recipe, *wsd, "training.steps=8")
    done("run", recipe, *wsd, "training.steps=8", "--folder", "runs/straight")
    assert same(run / "model", Path("runs/straight/model"))
