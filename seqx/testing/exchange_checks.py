"""Checks of exporters, importers and engines with models that they can convert."""

import ast
import contextlib
import copy
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Self

import torch
import yaml

from seqx.errors import UserError
from seqx.inference.exchange import trained_model, write_export
from seqx.inference.imports import write_import
from seqx.inference.loading import load
from seqx.inference.predictor import Predictor
from seqx.interfaces.exchange import Engine, Exporter, Importer, TrainedModel
from seqx.interfaces.networks import Generator
from seqx.interfaces.scores import Score
from seqx.interfaces.task import Request
from seqx.storage.atomic import atomic_folder

_SCORE = Score(value=12.34, signature="nrefs:1|version:2")
_LICENCE = "cc-by-4.0"
_CACHE_OF_TORCH = "torchinductor_"  # a folder of the user, which later programs use as well
_TOLERANCE = 1e-4  # of log-probabilities


def check_export(exporter: Exporter, model: Path) -> None:
    """Assert that an exporter writes a complete export with a model card, and leaves no file if it fails.

    A test of a plugin calls it with the folder of a small model that the format can express. The laws of
    `seqx.testing.laws` have no such model.

    Args:
        exporter: the exporter
        model: the folder of a model whose task reads texts

    Raises:
        AssertionError: the exporter breaks a law
    """
    predictor, trained = _trained(model)
    trained = replace(trained, license=_LICENCE, scores={"test": {"metric": _SCORE}})
    unknown = _check_refusals(exporter, trained)
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    vocabulary = _contents(trained.vocabulary)
    with _temporary_folders() as place:
        with _Writes(place) as writes:
            _export(exporter, trained, place / "export")
        lines = _check_card(place / "export", trained, predictor)
        after = trained.model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items()), (
            "write: the weights of the model were changed; convert copies of them"
        )
        assert _contents(trained.vocabulary) == vocabulary, (
            "write: the folder of the vocabulary was changed; only read it"
        )
        shutil.rmtree(place / "export")
        if unknown is not None:
            _check_subclass(exporter, unknown, place / "export", lines)
        for number, error in ((1, OSError("a fault of the test")), (writes.count, KeyboardInterrupt())):
            with _Writes(place, number, error):
                _check_raises(lambda: _export(exporter, trained, place / "export"), error, "write")
            left = sorted(path.name for path in place.iterdir() if path.name != "tmp")
            assert not left, f"write: after an error it leaves {', '.join(left)}; write only into `folder`"


def check_engine(engine: Engine, model: Path, inputs: Sequence[str]) -> None:
    """Assert that an engine gives the same answers as seqx, and refuses models with parts of unknown classes.

    Args:
        engine: the engine, with a number format that changes no answers
        model: the folder of a model whose task uses a search
        inputs: texts that the model answers

    Raises:
        AssertionError: the engine breaks a law
    """
    predictor, trained = _trained(model)
    _check_refusals(engine, trained)
    with _temporary_folders() as place:
        folder = place / "export"
        _export(engine, trained, folder)
        before = _contents(folder)
        search = engine.search(trained, folder)
        theirs = Predictor(trained.task, trained.model, search, device=torch.device("cpu"))
        requests: list[str | Request] = [*inputs]
        if trained.task.accepts_constraints:
            words = [text.split() for text in predictor(inputs)]
            requests += [
                Request(input=text, forbid=(answer[0],))
                for text, answer in zip(inputs, words, strict=True)
                if answer
            ]
        for request, one, other in zip(
            requests, predictor.hypotheses(requests), theirs.hypotheses(requests), strict=True
        ):
            assert [each.text for each in one] == [each.text for each in other], (
                f"search: other answers than those of seqx to {request!r}: {[text for text, _ in other]} "
                f"instead of {[text for text, _ in one]}"
            )
            for (_, ours), (_, found) in zip(one, other, strict=True):
                for name in ("score", "logprob"):
                    difference = abs(getattr(ours, name) - getattr(found, name))
                    assert difference <= _TOLERANCE * max(1.0, abs(getattr(ours, name))), (
                        f"search: the {name} of an answer to {request!r} differs by {difference:g}; return "
                        "the values of seqx.Hypothesis"
                    )
        assert _contents(folder) == before, "search: the converted folder was changed; only read it"


def check_import(importer: Importer, source: Path, answers: Mapping[str, str]) -> None:
    """Assert that an imported model gives the answers of its source, and that damaged sources are refused.

    Args:
        importer: the importer
        source: a file or a folder that it can read
        answers: the answer of the other program to each input

    Raises:
        AssertionError: the importer breaks a law
    """
    before = _contents(source)
    with _temporary_folders() as place:

        def imported(name: str, origin: Path) -> dict[str, str]:
            """Import a source, and return the answers of the model."""
            write_import(importer, origin, place / name)
            predictor = load(place / name, device="cpu", precision="fp32")
            shutil.rmtree(place / name)
            return dict(zip(answers, predictor(answers), strict=True))

        assert imported("model", source) == answers, "read: the model does not give the answers of its source"
        assert _contents(source) == before, "read: the source was changed; only read it"
        error = KeyboardInterrupt()
        with _Writes(place, 1, error):
            _check_raises(lambda: imported("model", source), error, "read")
        assert not (place / "model").exists(), "read: an interrupt leaves a half-written model"
        for name in before:
            damaged = place / "damaged" / source.name
            _copy_with_half(source, damaged, name)
            try:
                found = imported("model", damaged)
            except UserError as refused:
                message = str(refused)
                assert Path(name).name in message, (
                    f"read: the error for half of {name} names no file: {message}"
                )
                assert "\n" not in message, f"read: the error for half of {name} has several lines: {message}"
            except Exception as other:
                raise AssertionError(
                    f"read: {type(other).__name__} for half of {name}: {other}; raise a seqx.UserError that "
                    "names the file"
                ) from other
            else:
                assert found == answers, f"read: half of {name} is read without an error"
            shutil.rmtree(place / "damaged")


def _trained(folder: Path) -> tuple[Predictor, TrainedModel]:
    predictor = load(folder, device="cpu", precision="fp32")
    return predictor, trained_model(folder, predictor.task, predictor.model, predictor.search)


def _export(exporter: Exporter, model: TrainedModel, folder: Path) -> None:
    """Write an export as the command does."""
    with atomic_folder(folder) as new:
        write_export(exporter, model, new)


def _check_refusals(exporter: Exporter, model: TrainedModel) -> TrainedModel | None:
    """Check that a model is accepted, and that parts of unknown classes are refused, with their setting.

    An exporter that runs the code of the model, such as by tracing, may accept a model of an unknown class.

    Returns:
        the trained model with a model of an unknown class, if the exporter accepts it; None: it refuses
    """
    problems = list(exporter.problems(model))
    assert not problems, f"problems: {problems[0]}; pass a model that can be converted"
    parts: dict[str, Any] = {"task": model.task, "model": model.model}
    if isinstance(exporter, Engine):
        parts["search"] = model.search
    accepted = None
    for setting, part in parts.items():
        base = type(part)
        methods = {"head": _negative_head} if isinstance(part, Generator) else {}
        unknown = copy.copy(part)
        object.__setattr__(unknown, "__class__", type("Unknown", (base,), methods))  # it may be frozen
        changed = replace(model, **{setting: unknown})
        if any(problem.startswith(setting) for problem in exporter.problems(changed)):
            continue
        runs_the_model = bool(methods) and not isinstance(exporter, Engine)
        assert runs_the_model, (
            f"problems: a {setting} of an unknown class is not refused; read it with seqx.describe, and name "
            "the setting in the problem"
        )
        accepted = changed
    return accepted


def _negative_head(model: Generator, outputs: torch.Tensor) -> torch.Tensor:
    """Return the negative logits of the base class, so that a test can distinguish the two classes."""
    head: Any = type(model).__mro__[1].head  # type: ignore[attr-defined]
    return -head(model, outputs)


def _check_subclass(exporter: Exporter, unknown: TrainedModel, folder: Path, lines: list[str]) -> None:
    """Check that an accepted model of an unknown class is exported with its own methods.

    Args:
        exporter: the exporter
        unknown: the model
        folder: the folder to write
        lines: the lines that the code in the card prints for a model of the base class
    """
    _export(exporter, unknown, folder)
    code = _blocks((folder / "README.md").read_text(encoding="utf-8"), "python")[0]
    assert _run_code(code, folder)["lines"] != lines, (
        "problems: a model of an unknown class is not refused, but exported as one of its base class; read "
        "it with seqx.describe, and name the setting in the problem"
    )
    shutil.rmtree(folder)


def _check_card(folder: Path, model: TrainedModel, predictor: Predictor) -> list[str]:
    """Check README.md: its fields, scores and recipe, and that its code prints the answers of seqx.

    Returns:
        the lines that the code prints
    """
    file = folder / "README.md"
    assert file.is_file(), "write: there is no README.md, the card of the model"
    text = file.read_text(encoding="utf-8")
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    fields = yaml.safe_load(head[1]) if head else None
    assert isinstance(fields, dict), "README.md: it does not begin with fields in YAML between two lines ---"
    for name, value in (("license", _LICENCE), ("library_name", fields.get("library_name") or "a name")):
        assert fields.get(name) == value, f"README.md: the field {name} must be {value}"
    missing = [part for part in (f"{_SCORE.value:.2f}", _SCORE.signature.split("|")[0]) if part not in text]
    assert not missing, f"README.md: a score or its signature is missing: {missing[0]}"
    recipes = [yaml.safe_load(block) for block in _blocks(text, "yaml")]
    assert model.recipe in recipes, "README.md: the recipe of the model is missing; add it as a block of YAML"
    codes, installed = _blocks(text, "python"), re.findall(r"pip install (.*)", text)
    assert codes, "README.md: there is no code that uses the model; add a block of Python"
    assert installed, "README.md: it does not say which packages its code needs; add `pip install PACKAGE`"
    _check_imports(codes[0], {_normal(package) for line in installed for package in line.split()})
    printed = _run_code(codes[0], folder)
    sentences = printed.pop("sentences", None)
    if isinstance(sentences, list):
        expected = predictor(sentences)
        assert printed["lines"] == expected, (
            f"README.md: its code prints {printed['lines']}, and seqx answers {expected} to its `sentences`"
        )
    assert printed["lines"], "README.md: its code prints nothing"
    lines: list[str] = printed["lines"]
    return lines


def _check_imports(code: str, packages: set[str]) -> None:
    """Check that code imports modules of the standard library and of these packages only."""
    owners = packages_distributions()
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in (name.partition(".")[0] for name in names):
            known = {_normal(owner) for owner in owners.get(module, [module])}
            assert module in sys.stdlib_module_names or known & packages, (
                f"README.md: its code imports {module}, which `pip install` in it does not name"
            )


def _run_code(code: str, folder: Path) -> dict[str, Any]:
    """Run code in a folder; return the lines that it prints and its variable `sentences`."""
    output, names = io.StringIO(), dict[str, Any]()
    with contextlib.chdir(folder), contextlib.redirect_stdout(output):
        try:
            exec(compile(code, "README.md", "exec"), names)  # noqa: S102  the card of the exporter
        except Exception as error:
            raise AssertionError(f"README.md: its code fails: {type(error).__name__}: {error}") from error
    return {"lines": output.getvalue().splitlines(), "sentences": names.get("sentences")}


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _normal(package: str) -> str:
    """Return the normalized name of a distribution, without its version."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>~! ]", package.strip("'\""))[0]).lower()


def _check_raises(call: Any, error: BaseException, method: str) -> None:
    """Check that a call raises the error of the test; for an OSError, it may also raise a `UserError`."""
    try:
        call()
    except (type(error), UserError) as found:
        if isinstance(found, type(error)) or isinstance(error, OSError):
            return
    raise AssertionError(f"{method}: it continues after {type(error).__name__}; do not catch it")


@contextlib.contextmanager
def _temporary_folders() -> Iterator[Path]:
    """Yield a folder; temporary files are written to its subfolder `tmp`, which must be empty in the end."""
    with tempfile.TemporaryDirectory() as name:
        place, before = Path(name).resolve(), tempfile.tempdir
        (place / "tmp").mkdir()
        tempfile.tempdir = str(place / "tmp")
        try:
            yield place
        finally:
            tempfile.tempdir = before
        names = (path.name for path in (place / "tmp").iterdir())
        left = sorted(name for name in names if not name.startswith(_CACHE_OF_TORCH))
        assert not left, f"temporary files are left: {', '.join(left)}; use tempfile.TemporaryDirectory"


def _contents(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of each file in a folder by its relative name."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def _copy_with_half(source: Path, copied: Path, name: str) -> None:
    """Copy a file or a folder, and cut the file `name` after its first half."""
    copied.parent.mkdir()
    if source.is_dir():
        shutil.copytree(source, copied)
    else:
        shutil.copyfile(source, copied)
    file = copied / name if source.is_dir() else copied
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@dataclass
class _Writes:
    """A count of the files that Python opens for writing in a folder within a block.

    Files that libraries in other languages open are not counted.

    Args:
        folder: the folder
        failing: the number of the file whose opening fails, from 1; 0: none
        error: the error that is raised when this file is opened
    """

    folder: Path
    failing: int = 0
    error: BaseException | None = None
    count: int = 0

    def __enter__(self) -> Self:
        if not _HOOK:
            sys.addaudithook(_opened)  # it stays until the process ends
            _HOOK.append(None)
        _HOOK[0] = self
        return self

    def __exit__(self, *_: object) -> None:
        _HOOK[0] = None

    def opened(self, path: object, mode: object, flags: object) -> None:
        """Count a file, and raise the error if it is the chosen one."""
        is_written = bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
        if isinstance(mode, str):
            is_written = bool(set(mode) & set("wax+"))
        if isinstance(path, str | Path) and is_written and self.folder in Path(path).parents:
            self.count += 1
            if self.count == self.failing and self.error is not None:
                raise self.error


_HOOK: list[_Writes | None] = []


def _opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and (active := _HOOK[0]) is not None:
        active.opened(*arguments)
