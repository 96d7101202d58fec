"""Runs with subword regularisation."""

from pathlib import Path

from tests.stories.tiny import TINY, done, lines, tiny


def test_sampled_segmentations_differ_between_epochs_and_are_reproducible() -> None:
    updates = {}
    for name, setting in (("unsampled", "false"), ("sampled", "true"), ("repeated", "true")):
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
    unsampled, sampled = ([tokens for tokens, _ in updates[name]] for name in ("unsampled", "sampled"))
    assert len(set(unsampled)) == 1  # each update is one epoch
    assert len(set(sampled)) > 1
    assert min(sampled) > unsampled[0]
    assert updates["repeated"] == updates["sampled"]
