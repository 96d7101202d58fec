"""Exporters, engines and importers that break one of the checks with a real model."""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import seqx
from seqx.testing import check_engine, check_export, check_import
from tests.models import write_model

INPUTS = ["the man sees a dog", "a house"]
CODE = """\
import json

sentences = ["a house"]
with open("answers.json") as file:
    answers = json.load(file)
for sentence in sentences:
    print(answers[sentence])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "model")


class Answers(seqx.Engine):
    """A format with the answers to one input, which obeys all checks except the one named by `fault`."""

    fault = ""

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        if self.fault == "accepts unknown classes":
            return
        for setting, part in (("task", model.task), ("model", model.model), ("search", model.search)):
            try:
                seqx.describe(cast("Any", part))
            except seqx.UnspecifiedError as error:
                yield f"{setting}: {error.name} is unknown"

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        try:
            self._write(model, folder)
        except (OSError, KeyboardInterrupt):
            if self.fault != "catches interrupts":
                raise
        if self.fault == "leaves temporary files":
            tempfile.mkdtemp()
        if self.fault == "changes the weights":
            next(model.model.parameters()).data.add_(1)

    def _write(self, model: seqx.TrainedModel, folder: Path) -> None:
        predictor = seqx.Predictor(model.task, model.model, model.search, device=torch.device("cpu"))
        inputs = INPUTS[:1] if self.fault == "code fails" else ["a house"]
        answers = dict(zip(inputs, predictor(inputs), strict=True))
        if self.fault == "code prints other answers":
            answers["a house"] += "?"
        target = folder.parent if self.fault == "writes outside" else folder
        (target / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
        if self.fault == "no card":
            return
        fields = {
            "license": "mit" if self.fault == "wrong licence" else model.license,
            "library_name": "json",
        }
        signatures = (
            []
            if self.fault == "no score"
            else [
                f"{score.value:.2f} {score.signature}"
                for scores in model.scores.values()
                for score in scores.values()
            ]
        )
        code = f"import numpy\n{CODE}" if self.fault == "code needs another package" else CODE
        recipe = {} if self.fault == "no recipe" else dict(model.recipe)
        parts = [
            f"---\n{yaml.safe_dump(fields)}---",
            f"pip install json\n\n```python\n{code}```",
            *signatures,
            f"```yaml\n{yaml.safe_dump(recipe)}```",
        ]
        (folder / "README.md").write_text("\n\n".join(parts), encoding="utf-8")

    def search(self, model: seqx.TrainedModel, folder: Path) -> seqx.Search:
        assert model.search is not None
        if self.fault == "changes the folder":
            (folder / "answers.json").unlink()
        return Changed(model.search, self.fault)


class Traced(seqx.Exporter):
    """A format that runs the code of any model, unless its fault is to run that of the base class."""

    fault = ""

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        return [problem for problem in Answers().problems(model) if problem.startswith("task")]

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        if self.fault:
            base = copy.copy(model.model)
            known = next(each for each in type(base).__mro__ if each.__name__ != "Unknown")
            object.__setattr__(base, "__class__", known)
            model = replace(model, model=base)
        Answers().write(model, folder)


class Changed(seqx.Search):
    """A search that changes the hypotheses of another one."""

    def __init__(self, search: seqx.Search, fault: str) -> None:
        self._search, self._fault = search, fault

    @property
    def width(self) -> int:
        return self._search.width

    def max_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        return self._search.max_lengths(lengths)

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: torch.Tensor,
        grammar: seqx.Grammar | None = None,
        *others: Any,
    ) -> Any:
        if self._fault == "ignores constraints":
            grammar = None
        if self._fault == "other answers":
            max_lengths = max_lengths // 2
        found = self._search(model, source, max_lengths, grammar, *others)
        if self._fault == "other scores":
            return [[replace(each, score=each.score + 0.01) for each in best] for best in found]
        return found


class Files(seqx.Importer):
    """Three files with a model, whose importer obeys all checks except the one named by `fault`."""

    fault = ""

    def read(self, source: Path, vocabulary: Path) -> seqx.ImportedModel:
        if self.fault == "changes the source":
            (source / "new").touch()
        settings = self._read(source / "settings.json", lambda file: json.loads(file.read_bytes()))
        weights = self._read(source / "weights.bin", load_file)
        symbols = self._read(source / "symbols.bin", lambda file: self._bytes(file, settings["size"]))
        (vocabulary / "tokenizer").mkdir()
        try:
            (vocabulary / "tokenizer" / "sentencepiece.model").write_bytes(symbols)
        except KeyboardInterrupt:
            if self.fault != "catches interrupts":
                raise
        if self.fault == "other weights":
            weights = {name: tensor.flip(0) for name, tensor in weights.items()}
        return seqx.ImportedModel(recipe=settings["recipe"], weights=weights)

    def _bytes(self, file: Path, size: int) -> bytes:
        if file.stat().st_size != size:
            raise ValueError("truncated")
        return file.read_bytes()

    def _read(self, file: Path, read: Callable[[Path], Any]) -> Any:
        try:
            return read(file)
        except Exception as error:
            if self.fault == "raises errors of libraries":
                raise
            if self.fault == "reads damaged weights" and file.name == "weights.bin":
                return load_file(file.with_name("zeros.bin"))
            name = "a file" if self.fault == "names no file" else str(file)
            text = f"{name}: is damaged ({error}); copy it again"
            raise seqx.UserError(text if self.fault == "several lines" else " ".join(text.split())) from None


@pytest.fixture(scope="module")
def source(model: Path) -> Path:
    """Return a folder that `Files` reads."""
    folder = model.parent / "source"
    folder.mkdir()
    symbols = (model / "task" / "tokenizer" / "sentencepiece.model").read_bytes()
    settings = {"recipe": yaml.safe_load((model / "recipe.yaml").read_bytes()), "size": len(symbols)}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "symbols.bin").write_bytes(symbols)
    weights = load_file(model / "model.safetensors")
    save_file(weights, folder / "weights.bin")
    save_file({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, folder / "zeros.bin")
    return folder


EXPORTS = {
    "accepts unknown classes": "a task of an unknown class is not refused",
    "catches interrupts": "it continues after KeyboardInterrupt",
    "leaves temporary files": "temporary files are left",
    "changes the weights": "the weights of the model were changed",
    "writes outside": "temporary files are left|after an error it leaves|code fails",
    "code fails": "its code fails: KeyError",
    "code prints other answers": "its code prints .* and seqx answers",
    "code needs another package": "its code imports numpy, which",
    "no card": "there is no README.md",
    "wrong licence": "the field license must be cc-by-4.0",
    "no score": "a score or its signature is missing",
    "no recipe": "the recipe of the model is missing",
}
ENGINES = {
    "accepts unknown classes": "a task of an unknown class is not refused",
    "other answers": "other answers than those of seqx to 'the man",
    "other scores": "the score of an answer to 'the man .* differs by",
    "ignores constraints": r"other answers than those of seqx to Request\(",
    "changes the folder": "the converted folder was changed",
}
IMPORTS = {
    "other weights": "does not give the answers of its source",
    "changes the source": "the source was changed",
    "catches interrupts": "it continues after KeyboardInterrupt",
    "raises errors of libraries": "for half of settings.json",
    "reads damaged weights": "half of weights.bin is read without an error",
    "names no file": "names no file",
}


def faulty(maker: type, fault: str) -> Any:
    return type("Faulty", (maker,), {"fault": fault})()


def test_correct_implementations_pass_all_checks(model: Path, source: Path) -> None:
    check_export(Answers(), model)
    check_engine(Answers(), model, INPUTS)
    check_import(Files(), source, answers(model))


def answers(model: Path) -> dict[str, str]:
    return dict(zip(INPUTS, seqx.load(model, device="cpu", precision="fp32")(INPUTS), strict=True))


@pytest.mark.parametrize("fault", EXPORTS)
def test_check_finds_the_fault_of_an_exporter(model: Path, fault: str) -> None:
    with pytest.raises(AssertionError, match=EXPORTS[fault]):
        check_export(faulty(Answers, fault), model)


def test_check_of_exporters_accepts_one_that_runs_models_of_unknown_classes(model: Path) -> None:
    check_export(Traced(), model)
    with pytest.raises(AssertionError, match="not refused, but exported as one of its base class"):
        check_export(faulty(Traced, "runs the base class"), model)


@pytest.mark.parametrize("fault", ENGINES)
def test_check_finds_the_fault_of_an_engine(model: Path, fault: str) -> None:
    with pytest.raises(AssertionError, match=ENGINES[fault]):
        check_engine(faulty(Answers, fault), model, INPUTS)


@pytest.mark.parametrize("fault", IMPORTS)
def test_check_finds_the_fault_of_an_importer(model: Path, source: Path, tmp_path: Path, fault: str) -> None:
    copied = Path(shutil.copytree(source, tmp_path / "source"))
    with pytest.raises(AssertionError, match=IMPORTS[fault]):
        check_import(faulty(Files, fault), copied, answers(model))
