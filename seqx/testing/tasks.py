"""Laws of tasks."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from seqx.inference import Predictor
from seqx.interfaces.rows import value_text
from seqx.interfaces.task import Example, Task, Values
from seqx.interfaces.tensors import BOS, EOS, PAD, UNK, Features
from seqx.tasks.seq2seq import GenerationTask
from seqx.testing.law import Subject, law
from seqx.testing.predictor import FixedPredictor
from seqx.testing.toy import Certain


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


@law(Task)
def learned_files_can_be_loaded(subject: Subject) -> None:
    """A task that loads the folder of another has the same vocabulary sizes, identity and examples."""
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
    """Ids are in the vocabularies, a target has tokens, and no test row is rejected."""
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
            assert len(example.columns["target"]), "example: the target has no tokens; it needs at least one"


@law(Task)
def symbols_describe_each_token(subject: Subject) -> None:
    """`symbols` returns a text for each token of each column that the model uses."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        for example in _examples(task, "dev"):
            for column, size in task.vocab_sizes.items():
                if isinstance(size, Features):
                    continue
                ids = [int(i) for i in example.columns[column] if i not in (PAD, BOS, EOS)]
                try:
                    symbols = task.symbols(column, ids)
                except LookupError as error:
                    raise AssertionError(
                        f"symbols: it cannot read the ids {ids} of the column {column!r} ({error!r}); return "
                        "the symbols of each column of `vocab_sizes`"
                    ) from None
                assert len(symbols) == len(ids), (
                    f"symbols: it returns {len(symbols)} texts for {len(ids)} ids of the column {column!r}; "
                    "return one for each"
                )


@law(GenerationTask)
def targets_end_with_eos(subject: Subject) -> None:
    """A target has one EOS, at its end, unless `many_eos` is set."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        assert isinstance(task, GenerationTask)
        for example in _examples(task, "dev"):
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
            f"the test split must have as many inputs as references and examples, not {counts}"
        )
        for text, example in zip(inputs, examples, strict=True):
            expected, actual = example.columns["source"], task.read(text)["source"]
            assert np.array_equal(actual, expected), (
                f"read: the input {text!r} has the source {actual}, but its example has the source "
                f"{expected}, so the model gets another source than in training; normalise and encode both "
                "alike"
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
    """References score better than the answers "x"."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        split = task.read_split("test")
        best = _main_score(task, task.references(split))
        worst = _main_score(task, ["x" for _ in task.inputs(split)], -9.0)
        assert best > worst, (
            f"evaluate: the references must score better than the answers x (main score: references "
            f"{best:.4g}, answers x {worst:.4g}); compare the answers of the model with `references`, in the "
            "same order"
        )


@law(GenerationTask)
def decoded_references_score_well(subject: Subject) -> None:
    """References decoded from their ids score almost as well as references."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        assert isinstance(task, GenerationTask)
        split = task.read_split("test")
        targets = (example.columns["target"][:-1] for example in _examples(task, "test"))
        decoded = [task.write(ids, text, {}) for ids, text in zip(targets, task.inputs(split), strict=True)]
        best, second = _main_score(task, task.references(split)), _main_score(task, decoded)
        assert best >= second >= best - 0.1 * abs(best), (
            "write: targets that are decoded from their ids score far below the references (main score: "
            f"references {best:.4g}, decoded targets {second:.4g}); `write` must undo what `example` does to "
            "a target"
        )


def _main_score(task: Task, answers: Iterable[str], logprob: float = 0.0) -> float:
    """Return the main score of answers to the test set, as a number that is higher for better answers."""
    remaining = iter(answers)
    predictor = FixedPredictor(lambda _: next(remaining), logprob)
    return next(iter(task.evaluate(predictor, task.read_split("test")).scores.values())).rank


@law(Task)
def answers_are_those_of_the_model(subject: Subject) -> None:
    """If a task uses no search, a model that is certain of the targets gives the references as answers."""
    with tempfile.TemporaryDirectory() as folder:
        task = learned(subject, Path(folder, "a"))
        if task.uses_search:
            return
        split = task.read_split("test")
        rows = zip(task.inputs(split), task.references(split), _examples(task, "test"), strict=True)
        for text, reference, example in rows:
            if UNK not in example.columns["target"]:  # a label that the training rows lack
                model = Certain(task.vocab_sizes, example.columns["target"])
                [answer] = Predictor(task, model, None, device=torch.device("cpu"))([text])
                assert answer == reference, (
                    f"answer: {text!r} has the answer {answer!r}, but the model is certain of {reference!r}; "
                    "`answer` must undo what `example` does to a target"
                )
