"""Subword regularisation, from a recipe."""

from pathlib import Path

from tests.stories.tiny import TINY, done, lines, tiny


def test_each_epoch_draws_other_segmentations_always_the_same_ones() -> None:
    updates = {}
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
        updates[name] = [(row["tokens"], row["loss"]) for row in lines(Path("runs", name), "update")]
    usual, drawn = ([tokens for tokens, _ in updates[name]] for name in ("usual", "drawn"))
    assert len(set(usual)) == 1  # an update is an epoch
    assert len(set(drawn)) > 1
    assert min(drawn) > usual[0]
    assert updates["again"] == updates["drawn"]
