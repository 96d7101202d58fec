"""A model that can read and write no more than so many tokens."""

import math
from pathlib import Path

from seqx import load
from tests.stories.tiny import TINY, done, lines, refused, tiny

LEARNED = TINY.replace("type: transformer,", "type: transformer, positions: {type: learned, limit: 20},")


def test_examples_that_are_too_long_are_refused_before_training() -> None:
    said = refused("run", tiny(LEARNED)).splitlines()[-1]
    assert said.startswith(
        "model: it reads and writes at most 20 tokens, EOS included, but training examples may have 24,"
    )
    assert not Path("runs/tiny/checkpoints").exists()


def test_segmentations_that_may_get_too_long_are_refused() -> None:
    said = refused("run", tiny(LEARNED), "task.max_length=21", "task.sample_segmentation=true")
    assert "may have 21; raise the limit of its positional encoding" in said


def test_examples_of_dev_that_are_too_long_are_left_out_of_perplexity() -> None:
    done("run", tiny(LEARNED), "task.max_length=20", "training.steps=3", "task.corpus.dev=60")
    task = load("runs/tiny").task
    assert max(len(task.read(text)["source"]) for text in task.inputs(task.read_split("dev"))) > 20
    evaluations = [row for row in lines(Path("runs/tiny"), "evaluation") if row["split"] == "dev"]
    assert all(1 < row["perplexity"] < math.inf for row in evaluations)
