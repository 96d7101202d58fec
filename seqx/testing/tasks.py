"""Laws of tasks."""

import tempfile
from pathlib import Path

from seqx.interfaces.task import Example, Task
from seqx.interfaces.tensors import EOS
from seqx.testing.law import Subject, law
from seqx.testing.predictor import FixedPredictor


def _learned(subject: Subject, folder: Path) -> Task:
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
    """A task that loads the folder of another task has the same vocabularies, identity and examples."""
    with tempfile.TemporaryDirectory() as folder:
        first = _learned(subject, Path(folder, "a"))
        second: Task = subject.build()
        second.fetch(Path(folder, "a"), lambda _, __: None)
        second.load(Path(folder, "a"))
        assert dict(second.vocab_sizes) == dict(first.vocab_sizes), "`vocab_sizes` changes with `load`"
        assert second.identity() == first.identity(), "`identity` differs between equal tasks"
        assert _examples(second, "dev") == _examples(first, "dev"), "examples change with `load`"


@law(Task)
def examples_are_valid(subject: Subject) -> None:
    """Ids are in the vocabularies, a target has one EOS, at its end, and no test row is rejected."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learned(subject, Path(folder, "a"))
        assert _examples(task, "train")
        assert len(_examples(task, "test")) == len(list(task.rows("test")))
        for example in _examples(task, "dev"):
            for column, size in task.vocab_sizes.items():
                ids = example.columns[column]
                are_valid = all(0 <= i < size for i in ids)
                assert are_valid, f"{column} has an id below 0 or above {size - 1}: {ids}"
            target = example.columns["target"]
            assert target, "a target has no tokens; it needs at least EOS"
            has_one_eos = target.count(EOS) == 1 and target[-1] == EOS
            assert task.many_eos or has_one_eos, f"a target must have one EOS ({EOS}), at its end: {target}"


@law(Task)
def inputs_are_encoded_like_examples(subject: Subject) -> None:
    """Inputs are encoded like the source of examples."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learned(subject, Path(folder, "a"))
        examples, inputs = _examples(task, "test"), task.inputs(task.read_split("test"))
        counts = len(inputs), len(task.references(task.read_split("test"))), len(examples)
        assert len(set(counts)) == 1, f"numbers of inputs, references and examples differ: {counts}"
        for text, example in zip(inputs, examples, strict=True):
            read, encoded = list(task.read(text)["source"]), list(example.columns["source"])
            assert read == encoded, f"{text!r}: `read` returns {read}, but `example` {encoded}"


@law(Task)
def scores_match_score_names(subject: Subject) -> None:
    """`evaluate` returns only scores that `score_names` lists, and both have the same first score."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learned(subject, Path(folder, "a"))
        expected = task.score_names()
        if expected is not None:
            names = list(task.evaluate(FixedPredictor(lambda _: "x", -9.0), task.read_split("test")).scores)
            message = f"`evaluate` returns the scores {names}, but `score_names` lists {expected}"
            assert names[0] == expected[0], f"{message}; the first names must be equal"
            assert set(names) <= set(expected), message


@law(Task)
def references_score_best(subject: Subject) -> None:
    """References score best, references decoded from their ids almost as well, and the answer "x" less."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learned(subject, Path(folder, "a"))
        inputs, references = (
            task.inputs(task.read_split("test")),
            iter(task.references(task.read_split("test"))),
        )
        targets = (example.columns["target"][:-1] for example in _examples(task, "test"))
        decoded = iter([task.write(ids, text, {}) for ids, text in zip(targets, inputs, strict=True)])
        ranks = []
        predictors = (
            FixedPredictor(lambda _: next(references)),
            FixedPredictor(lambda _: next(decoded)),
            FixedPredictor(lambda _: "x", -9.0),
        )
        for predictor in predictors:
            evaluation = task.evaluate(predictor, task.read_split("test"))
            ranks.append(next(iter(evaluation.scores.values())).rank)
        best, second, worst = ranks
        message = f"rank of references: {best}, of references decoded from ids: {second}, of 'x': {worst}"
        assert best >= second > worst, message
        assert second >= best - 0.1 * abs(best), f"{message}; encoding and decoding lose too much"
