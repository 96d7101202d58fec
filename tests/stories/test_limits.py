"""A model with a limited number of positions."""

import math
from pathlib import Path

from seqx import load
from tests.stories.tiny import TINY, done, lines, refused, tiny

LEARNED = TINY.replace("type: transformer,", "type: transformer, positions: {type: learned, limit: 20},")


def test_examples_longer_than_the_model_allows_are_refused_before_training() -> None:
    message = refused("run", tiny(LEARNED)).splitlines()[-1]
    assert message.startswith(
        "model: it reads and writes at most 20 tokens, EOS included, but training examples may have 24,"
    )
    assert not Path("runs/tiny/checkpoints").exists()


def test_sampled_segmentations_that_may_exceed_the_limit_are_refused() -> None:
    message = refused("run", tiny(LEARNED), "task.max_length=21", "task.sample_segmentation=true")
    assert "may have 21; raise the limit of its positional encoding" in message


def test_too_long_dev_examples_are_left_out_of_perplexity() -> None:
    done("run", tiny(LEARNED), "task.max_length=20", "training.steps=3", "task.corpus.dev=60")
    task = load("runs/tiny").task
    assert max(len(task.read(text)["source"]) for text in task.inputs(task.read_split("dev"))) > 20
    evaluations = [row for row in lines(Path("runs/tiny"), "evaluation") if row["split"] == "dev"]
    assert all(1 < row["perplexity"] < math.inf for row in evaluations)
