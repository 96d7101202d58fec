"""Laws of exporters and importers."""

import re
import tempfile
from pathlib import Path

import torch

from seqx.errors import UserError
from seqx.interfaces.exchange import Exporter, Importer, TrainedModel
from seqx.interfaces.task import Task
from seqx.testing.law import Subject, law
from seqx.testing.toy import Toy

_SETTING = re.compile(r"(?:task|model|search)(?:\.\w+)*: \S.*")


class _Undescribed(Task):
    """A task that does not describe itself, so that most formats cannot express it. It has no methods."""


_Undescribed.__abstractmethods__ = frozenset()


def _model(vocabulary: Path) -> TrainedModel:
    """Return a trained model whose parts no exporter knows."""
    task, model = _Undescribed(), Toy({"source": 10, "target": 10}).eval()  # type: ignore[abstract]
    return TrainedModel(recipe={}, task=task, model=model, vocabulary=vocabulary)


@law(Exporter)
def problems_name_settings(subject: Subject) -> None:
    """Each problem is one line that begins with a setting of the model that the format cannot express."""
    exporter = subject.build()
    with tempfile.TemporaryDirectory() as folder:
        problems = exporter.problems(_model(Path(folder)))
        assert not isinstance(problems, str), "problems: return a list of strings, not a string"
        for problem in problems:
            assert _SETTING.fullmatch(problem), (
                f"problems: {problem!r} does not begin with a setting; write one line, such as "
                "'model.decoder.positions: the format has no rotary positions'"
            )


@law(Exporter)
def unknown_model_is_refused_or_written(subject: Subject) -> None:
    """A model of an unknown class is refused by `problems`, or written; neither changes its weights."""
    exporter = subject.build()
    with tempfile.TemporaryDirectory() as name:
        vocabulary, folder = Path(name) / "vocabulary", Path(name) / "export"
        vocabulary.mkdir()
        folder.mkdir()
        model = _model(vocabulary)
        before = {key: value.clone() for key, value in model.model.state_dict().items()}
        if not list(exporter.problems(model)):
            try:
                exporter.write(model, folder)
            except Exception as error:
                raise AssertionError(
                    f"write: {type(error).__name__} for a model of an unknown class: {error}; return the "
                    "reason from `problems`, which is called first"
                ) from error
            assert any(folder.iterdir()), "write: it has written no file into the folder"
        after = model.model.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items()), (
            "the weights of the model were changed; convert copies of them"
        )
        assert not any(vocabulary.iterdir()), "the folder of the vocabulary was changed; only read it"


@law(Importer)
def unreadable_sources_are_refused(subject: Subject) -> None:
    """Missing, empty and damaged sources raise a `UserError` of one line that names the source."""
    importer = subject.build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index, content in enumerate((None, b"", b"{", b"\x00\xff\x93PK\x03\x04", "folder")):
            source, vocabulary = folder / f"source{index}", folder / f"vocabulary{index}"
            vocabulary.mkdir()
            if content == "folder":
                source.mkdir()
            elif isinstance(content, bytes):
                source.write_bytes(content)
            where = "a missing file" if content is None else f"a file with {content!r}"
            where = "an empty folder" if content == "folder" else where
            try:
                importer.read(source, vocabulary)
            except UserError as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(
                    f"read: {type(error).__name__} for {where}: {error}; raise a seqx.UserError that names "
                    "the file, what is wrong, and what to do"
                ) from error
            else:
                raise AssertionError(f"read: {where} is read without an error; raise a seqx.UserError")
            assert source.name in message, f"read: the error for {where} does not name it: {message}"
            assert "\n" not in message, f"read: the error for {where} has several lines: {message}"
