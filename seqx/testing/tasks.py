"""Laws of tasks."""

import tempfile
from pathlib import Path

import numpy as np

from seqx.interfaces.rows import value_text
from seqx.interfaces.task import Example, Task, Values
from seqx.interfaces.tensors import EOS, Features
from seqx.testing.law import Subject, law
from seqx.testing.predictor import FixedPredictor


def learned(subject: Subject, folder: Path) -> Task:
    """Build a task, fetch its corpus and learn its vocabulary in a new folder."""
    folder.mkdir()
    task: Task = subject.build()
    task.fetch(folder, lambda _, __: None)
    task.learn(folder, lambda _, __: None)
    return task


def _examples(task: Task, split: str) -> list[Example]:
    """Return the examples of a split without rejected rows."""
    examples = [task.example(row, training=split == "train") for row in task.rows(split)]
    return [example for example in examples if isinstance(example, Example)]


def _dev_texts(task: Task) -> list[str]:
    """Return texts that identify the columns of the development examples."""
    return [value_text(dict(example.columns)) for example in _examples(task, "dev")]


@law(Task)
def learned_files_can_be_loaded(subject: Subject) -> None:
    """A task that loads the folder of another has its vocabularies, identity and examples."""
    with tempfile.TemporaryDirectory() as folder:
        first = learned(subject, Path(folder, "a"))
        second: Task = subject.build()
        second.fetch(Path(folder, "a"), lambda _, __: None)
        second.load(Path(folder, "a"))
        pairs = {
            "vocab_sizes": (dict(first.vocab_sizes), dict(second.vocab_sizes)),
            "identity": (first.identity(), second.identity()),
            "example": tuple(
                [value_text(example.columns) for example in _examples(task, "dev")]
                for task in (first, second)
            ),
        }
        different = [name for name, (learned_value, loaded) in pairs.items() if learned_value != loaded]
        assert not different, (
            f"load: {' and '.join(different)} of a task that loads the files of another differ from those of "
            "the other; write all that was learned into `folder`, and identify the text by its content"
        )


@law(Task)
def examples_are_valid(subject: Subject) -> None:
    """Ids are in the vocabularies, a target has one EOS, at its end, and no test row is rejected."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        assert _examples(task, "train"), "example: all training rows are rejected"
        rejected = len(list(task.rows("test"))) - len(_examples(task, "test"))
        assert not rejected, (
            f"example: {rejected} rows of the test split are rejected; reject rows only if `training` is true"
        )
        for example in _examples(task, "dev"):
            for column, size in task.vocab_sizes.items():
                _check_values(example.columns[column], column, size)
            target = list(example.columns["target"])
            ends = task.many_eos or (target[-1:] == [EOS] and target.count(EOS) == 1)
            assert ends, (
                f"example: the target {target} must end with EOS ({EOS}), and have no other; if each of its "
                "lines ends with EOS, set `many_eos`"
            )


def _check_values(values: Values, column: str, size: int) -> None:
    """Assert that the values of a column are ids below `size`, or vectors of `size` features."""
    if isinstance(size, Features):
        shape = np.shape(values)
        assert shape[1:] == (size,), (
            f"example: the vectors of {column!r} have the shape {list(shape)}, but `vocab_sizes` says that "
            f"they have {size} features"
        )
        return
    outside = [i for i in values if not 0 <= i < size]
    assert not outside, f"example: the ids {outside} of {column!r} are not below its size, {size}"


@law(Task)
def inputs_are_encoded_like_examples(subject: Subject) -> None:
    """Inputs are encoded like the source of examples."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        examples, split = _examples(task, "test"), task.read_split("test")
        inputs = task.inputs(split)
        counts = len(inputs), len(task.references(split)), len(examples)
        assert len(set(counts)) == 1, (
            f"inputs, references and examples of the test split must have one number, not {counts}"
        )
        for text, example in zip(inputs, examples, strict=True):
            expected, actual = example.columns["source"], task.read(text)["source"]
            assert np.array_equal(actual, expected), (
                f"read: the input {text!r} has the source {actual}, but its example has the source "
                f"{expected}, so the model is asked something else than it was trained on; normalise and "
                "encode both alike"
            )


@law(Task)
def scores_match_score_names(subject: Subject) -> None:
    """`evaluate` returns only scores that `score_names` lists, and both have the same first score."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        expected = task.score_names()
        if expected is not None:
            names = list(task.evaluate(FixedPredictor(lambda _: "x", -9.0), task.read_split("test")).scores)
            agree = names[0] == expected[0] and set(names) <= set(expected)
            assert agree, (
                f"score_names: {list(expected)} must list all scores of `evaluate`, {names}, in this order"
            )


@law(Task)
def references_score_best(subject: Subject) -> None:
    """References score best, references decoded from their ids almost as well, and "x" scores less."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        split = task.read_split("test")
        inputs, references = task.inputs(split), iter(task.references(split))
        targets = (example.columns["target"][:-1] for example in _examples(task, "test"))
        decoded = iter([task.write(ids, text, {}) for ids, text in zip(targets, inputs, strict=True)])
        predictors = (
            FixedPredictor(lambda _: next(references)),
            FixedPredictor(lambda _: next(decoded)),
            FixedPredictor(lambda _: "x", -9.0),
        )
        evaluations = [task.evaluate(predictor, split) for predictor in predictors]
        best, second, worst = (next(iter(evaluation.scores.values())).rank for evaluation in evaluations)
        problem = f"(main score: references {best:.4g}, decoded targets {second:.4g}, answers x {worst:.4g})"
        assert best >= second > worst, (
            f"evaluate: the references must score best, and the answers x worst {problem}; compare the "
            "answers of the model with `references`, in the same order"
        )
        assert second >= best - 0.1 * abs(best), (
            f"write: targets that are decoded from their ids score far below the references {problem}; "
            "`write` must undo what `example` does to a target"
        )
