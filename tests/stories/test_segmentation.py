"""Subword regularisation, from a recipe."""

from pathlib import Path

from tests.stories.tiny import TINY, done, lines, tiny


def test_each_epoch_draws_other_segmentations() -> None:
    tokens = {}
    for name, setting in (("usual", "false"), ("drawn", "true"), ("again", "true")):
        done(
            *(
                "run",
                tiny(TINY, f"{name}.yaml"),
                f"task.sample_segmentation={setting}",
                "task.corpus.train=40",
            ),
            *("task.tokenizer.alpha=0.5", "training.tokens=100000", "training.steps=6"),
        )
        tokens[name] = [row["tokens"] for row in lines(Path("runs", name), "update")]
    assert len(set(tokens["usual"])) == 1  # an update is an epoch
    assert len(set(tokens["drawn"])) > 1
    assert min(tokens["drawn"]) > tokens["usual"][0]
    assert tokens["again"] == tokens["drawn"]
