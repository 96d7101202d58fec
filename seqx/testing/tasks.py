"""The laws of tasks."""

import tempfile
from pathlib import Path

from seqx.interfaces.text import Task
from seqx.interfaces.values import EOS, Example
from seqx.testing.known import Known
from seqx.testing.law import Subject, law


def _learnt(subject: Subject, folder: Path) -> Task:
    folder.mkdir()
    task: Task = subject.build()
    task.fetch(folder, lambda _, __: None)
    task.learn(folder, lambda _, __: None)
    return task


def _examples(task: Task, split: str) -> list[Example]:
    examples = [task.example(row, training=split == "train") for row in task.rows(split)]
    return [example for example in examples if isinstance(example, Example)]


@law(Task)
def what_was_learnt_can_be_loaded(subject: Subject) -> None:
    """The folder is all that travels with a model."""
    with tempfile.TemporaryDirectory() as folder:
        first = _learnt(subject, Path(folder, "a"))
        second: Task = subject.build()
        second.fetch(Path(folder, "a"), lambda _, __: None)
        second.load(Path(folder, "a"))
        assert dict(second.vocab_sizes) == dict(first.vocab_sizes)
        assert second.identity() == first.identity()
        assert _examples(second, "dev") == _examples(first, "dev")


@law(Task)
def examples_fit_the_model(subject: Subject) -> None:
    """Ids are of the columns' vocabularies, an answer has one EOS, at its end, and no test row is dropped."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learnt(subject, Path(folder, "a"))
        assert _examples(task, "train")
        assert len(_examples(task, "test")) == len(list(task.rows("test")))
        for example in _examples(task, "dev"):
            for column, size in task.vocab_sizes.items():
                assert all(0 <= i < size for i in example.columns[column])
            target = example.columns["target"]
            assert target
            assert task.many_eos or target.index(EOS) == len(target) - 1


@law(Task)
def inputs_read_like_examples(subject: Subject) -> None:
    """What a user types is encoded as in training."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learnt(subject, Path(folder, "a"))
        examples, inputs = _examples(task, "test"), task.inputs(task.read_split("test"))
        assert len(inputs) == len(task.references(task.read_split("test"))) == len(examples)
        for text, example in zip(inputs, examples, strict=True):
            assert list(task.read(text)["source"]) == list(example.columns["source"])


@law(Task)
def scores_have_the_names_that_were_told(subject: Subject) -> None:
    """`evaluate` gives no scores except those in `score_names`, and begins with the same one."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learnt(subject, Path(folder, "a"))
        told = task.score_names()
        if told is not None:
            names = list(task.evaluate(Known(lambda _: "x", -9.0), task.read_split("test")).scores)
            assert names[0] == told[0]
            assert set(names) <= set(told)


@law(Task)
def right_answers_score_best(subject: Subject) -> None:
    """The references, and nearly so what is written from their ids; silence scores less."""
    with tempfile.TemporaryDirectory() as folder:
        task = _learnt(subject, Path(folder, "a"))
        inputs, right = task.inputs(task.read_split("test")), iter(task.references(task.read_split("test")))
        targets = (example.columns["target"][:-1] for example in _examples(task, "test"))
        written = iter([task.write(ids, text, {}) for ids, text in zip(targets, inputs, strict=True)])
        ranks = []
        known = (Known(lambda _: next(right)), Known(lambda _: next(written)), Known(lambda _: "x", -9.0))
        for predictor in known:
            evaluation = task.evaluate(predictor, task.read_split("test"))
            ranks.append(next(iter(evaluation.scores.values())).rank)
        best, again, worst = ranks
        assert best >= again > worst
        assert again >= best - 0.1 * abs(best)
