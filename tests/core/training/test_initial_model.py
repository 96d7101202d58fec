"""Fine-tuning with an extended vocabulary, frozen parameters, and the state of the optimizer."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import seqx
from benchmarks.run_differences import differences
from seqx.inference import Predictor, evaluation, initial_model_scores
from seqx.interfaces.scores import Score
from seqx.parallel import World
from seqx.storage import state_dict
from seqx.storage.checkpoints import Checkpoints
from seqx.testing.ranks import run_on_ranks
from seqx.training.freezing import frozen_parameters
from seqx_sample import Sample
from seqx_tagging import TagAccuracy, Tagging
from seqx_text import Marian, SentencePiece
from seqx_text_tasks import Classification
from seqx_text_tasks.labels import Labels
from seqx_training import CrossEntropy
from tests.core.parallel.test_training import train
from tests.letters import Letters, Rows
from tests.models import RECIPE
from tests.stories.test_stopping import send_at_call
from tests.stories.tiny import seqx as call

TRAINING = """\
training:
  steps: 2
  tokens: 300
  average: 1
  objective: {type: cross_entropy}
  optimizer: {type: adam}
  schedule: {type: constant, rate: 1e-3}
"""
UNCHANGED = "training.schedule.rate=1e-30"  # smaller than half a unit in the last place of any weight


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder, with `tiny.yaml` and its run `first`."""
    place = tmp_path_factory.mktemp("runs")
    text = RECIPE.replace("beam, size: 3, ratio: 0.25, extra: 4", "greedy, ratio: 0.1, extra: 3") + TRAINING
    (place / "tiny.yaml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(place / "cache"))
        patch.chdir(place)
        done("--folder", "first")
        yield place


def done(*settings: str) -> str:
    result = call("run", "tiny.yaml", "--device", "cpu", *settings)
    assert result.exit_code == 0, result.output
    return result.stderr


def refused(*settings: str) -> str:
    result = call("check", "tiny.yaml", *settings)
    assert result.exit_code == 2, result.output
    return result.stderr


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run, "model", "model.safetensors"))


EXTENDED = (
    "training.init_from={model: first, vocabulary: extend}",
    "task.tokenizer.symbols=[<2fr>, <2de>]",
)


def test_extended_vocabulary_has_new_rows_and_the_old_ones_bitwise(folder: Path) -> None:
    done(*EXTENDED, UNCHANGED, "--folder", "extended")
    before, after = weights("first"), weights("extended")
    assert before.keys() == after.keys()
    for name, old in before.items():
        new = after[name]
        assert torch.equal(new[: len(old)], old), name
        assert len(new) == len(old) + 2 * (name == "target.weight")
    first, extended = (seqx.load(run, device="cpu").task for run in ("first", "extended"))
    assert extended.symbols("source", [400, 401]) == ["<2fr>", "<2de>"]
    for text in ("We wait.", "A soldier put a letter there.", "ünknown"):
        assert extended.read(text) == first.read(text)
    assert 400 in extended.read("<2fr> We wait.")["source"]


def test_extended_model_is_trained_resumed_and_extended_again(folder: Path) -> None:
    stderr = done(*EXTENDED, "--folder", "trained")
    assert "test set of first: bleu " in stderr
    assert "test set of this run: bleu " in stderr
    done(*EXTENDED, "training.steps=3", "--folder", "trained")
    assert not torch.equal(weights("trained")["target.weight"][:400], weights("first")["target.weight"])
    done(
        "training.init_from={model: trained, vocabulary: extend}",
        "task.tokenizer.symbols=[<2fr>, <2de>, <2it>]",
        "--folder",
        "again",
    )
    assert len(weights("again")["target.weight"]) == 403


def test_extension_must_keep_the_symbols_of_the_model_and_other_settings(folder: Path) -> None:
    assert "extend adds nothing" not in done(*EXTENDED, UNCHANGED, "--folder", "extended")
    again = "training.init_from={model: extended, vocabulary: extend}"
    assert "extend adds nothing, because " in done(again, EXTENDED[1], UNCHANGED, "--folder", "same")
    fewer = "task.tokenizer.symbols=[<2fr>]"
    assert f"{fewer}: [<2fr>] does not fit" in refused(again, fewer)
    message = refused(EXTENDED[0], "task.tokenizer={type: sentencepiece, size: 300, symbols: [<a>]}")
    assert "task.tokenizer.size: 300 does not fit" in message
    assert "task.tokenizer.symbols" not in message
    message = refused("training.init_from={model: first}", EXTENDED[1])
    assert f"{EXTENDED[1]}: [<2fr>, <2de>] does not fit" in message


@pytest.mark.promise("frozen-parameters-keep-their-bits")
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("training.weight_precision=bf16", "training.precision=bf16"),
        ("training.ema={}", "training.average=2", "training.save_every=1"),
        ("training.optimizer=muon", "training.clip=1", "training.schedule.rate=1e-2"),
        ("training.optimizer={type: adafactor, decay: 0.1}",),
    ],
)
def test_frozen_parameters_keep_their_bits_to_the_end_of_a_resumed_run(
    more: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    run = str(tmp_path / "run")
    frozen = "training.init_from={model: first, freeze: [encoder, '*.norm.*'], old_test: false}"
    settings = (frozen, "--folder", run, *more)
    done(*settings)
    done(*settings, "training.steps=4")
    before, after = weights("first"), weights(run)
    for name, old in before.items():
        is_frozen = name.startswith("encoder.") or ".norm." in name
        assert torch.equal(old, after[name]) == is_frozen, name


@pytest.mark.promise("resume-is-bitwise-equal")
@pytest.mark.parametrize(
    "initial",
    [
        (EXTENDED[0].replace("}", ", freeze: [encoder]}"), EXTENDED[1]),
        ("training.init_from={model: first, reset_optimizer: false, freeze: ['*.norm.*']}",),
    ],
    ids=["extended", "continued"],
)
def test_stopped_fine_tuning_resumes_bitwise(
    initial: tuple[str, ...], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*initial, "training.steps=4", "training.save_every=2", "training.average=2")
    done(*settings, "--folder", str(tmp_path / "whole"))
    stopped = ("run", "tiny.yaml", "--device", "cpu", *settings, "--folder", str(tmp_path / "stopped"))
    for owner, function, number in (
        (CrossEntropy, "forward", 1),  # in the first update
        (CrossEntropy, "forward", 2),  # after the next start: in the third one
        (initial_model_scores, "evaluate", 1),
    ):
        with monkeypatch.context() as patch:
            send_at_call(patch, owner, function, number, signal.SIGTERM)
            assert call(*stopped).exit_code == 75
    done(*settings, "--folder", str(tmp_path / "stopped"))
    assert differences(tmp_path / "stopped", tmp_path / "whole", saves=False) == []
    for name in ("old_test.json", "new_test.json"):
        assert (tmp_path / "stopped" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
@pytest.mark.promise("frozen-parameters-keep-their-bits")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_frozen_parameters_keep_their_bits_on_two_ranks(strategy: str, folder: Path, tmp_path: Path) -> None:
    settings = (
        "training.steps=2",
        f"training.init_from.model={folder / 'first'}",
        "training.init_from.freeze=[encoder, decoder.*.query]",
        "training.init_from.reset_optimizer=false",
        "training.init_from.old_test=false",
        f"training.parallel={strategy}",
        "training.save_every=1",
        "training.schedule.warmup=1",
    )
    (tmp_path / "1").mkdir()

    def on_rank(world: World) -> Any:
        train(world, tmp_path, "run", *settings, "training.steps=1")
        return train(world, tmp_path, "run", *settings)

    assert [each.code for each in run_on_ranks(2, on_rank, tmp_path)] == [0, 0]
    before, after = weights("first"), weights(str(tmp_path / "run"))
    for name, old in before.items():
        is_frozen = name.startswith("encoder.") or ".query." in name
        assert torch.equal(old, after[name]) == is_frozen, name
    assert steps_of_optimizer(str(tmp_path / "run")) == {2, 4}  # of frozen and of trained parameters


def test_pattern_without_parameter_is_an_error_with_near_names(folder: Path) -> None:
    message = refused("training.init_from={model: first, freeze: [encoder, decoders, embedding.*]}")
    assert "no parameter of the model matches 'decoders'; did you mean 'decoder'?" in message
    assert "no parameter of the model matches 'embedding.*'; there are decoder, encoder, target, " in message
    assert "'encoder'; " not in message
    assert "all parameters are frozen" in refused("training.init_from={model: first, freeze: ['*']}")


def test_frozen_embedding_cannot_be_extended(folder: Path) -> None:
    frozen = EXTENDED[0].replace("}", ", freeze: [target]}")
    result = call("run", "tiny.yaml", frozen, EXTENDED[1], "--folder", "contradiction", "--device", "cpu")
    assert result.exit_code == 2
    assert (
        "training.init_from.freeze: target.weight has new rows for the extended vocabulary" in result.stderr
    )


def optimizer_state(run: str) -> dict[str, Any]:
    checkpoints = Checkpoints(Path(run, "checkpoints"))
    states = state_dict.read(checkpoints.path(checkpoints.steps()[-1]), torch.device("cpu"))
    state: dict[str, Any] = states["training.optimizer"]
    return state


def steps_of_optimizer(run: str) -> set[float]:
    return {float(state["step"]) for state in optimizer_state(run)["state"].values()}


def test_state_of_the_optimizer_is_kept_on_request(folder: Path) -> None:
    for reset, steps in (("true", 2), ("false", 4)):
        run = f"reset_{reset}"
        settings = f"{{model: first, reset_optimizer: {reset}, old_test: false}}"
        done(f"training.init_from={settings}", "--folder", run)
        assert steps_of_optimizer(run) == {steps}
    # A resumed run continues from its own checkpoint.
    done(f"training.init_from={settings}", "--folder", run, "training.steps=3")
    assert steps_of_optimizer(run) == {5}


def test_kept_state_of_the_optimizer_has_the_settings_of_the_new_run(folder: Path) -> None:
    settings = (
        "training.optimizer={type: adam, betas: [0.5, 0.75], eps: 0.125}",
        "training.init_from={model: first, reset_optimizer: false, old_test: false}",
    )
    for steps in (2, 3):  # the second time, the run resumes
        done(*settings, "--folder", "other_betas", f"training.steps={steps}")
        (group,) = optimizer_state("other_betas")["param_groups"]
        assert (tuple(group["betas"]), group["eps"]) == ((0.5, 0.75), 0.125)
        assert steps_of_optimizer("other_betas") == {2 + steps}


def test_state_of_the_optimizer_that_cannot_be_kept_is_an_error(folder: Path) -> None:
    shutil.copytree("first/model", "alone/model", dirs_exist_ok=True)
    message = refused("training.init_from={model: alone, reset_optimizer: false}")
    assert "alone: has no checkpoints, which hold the state of the optimizer; set reset" in message
    message = refused("training.init_from={model: first, reset_optimizer: false, vocabulary: extend}")
    assert "reset_optimizer: the state of the optimizer has no new rows" in message
    other = ("training.optimizer=adamw", "--folder", "adamw", "--device", "cpu")
    result = call("run", "tiny.yaml", "training.init_from={model: first, reset_optimizer: false}", *other)
    assert result.exit_code == 2
    assert "the state of training.optimizer does not fit AdamW (" in result.stderr
    assert "start with a new state (training.init_from.reset_optimizer: true)" in result.stderr
    assert "remove the checkpoint" not in result.stderr
    done("training.optimizer=adamw", "--folder", "decayed")
    decayed = "training.init_from={model: decayed, reset_optimizer: false}"
    result = call("run", "tiny.yaml", decayed, "training.optimizer=adafactor", *other[1:])
    assert result.exit_code == 2
    assert "does not fit SyncFreeAdafactor (it lacks the setting amsgrad); another optimizer" in result.stderr


def test_scores_with_different_settings_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def scores(tokenizer: str) -> dict[str, Score]:
        bleu = Score(value=2.0, signature=f"tok:{tokenizer}")
        return {"bleu": bleu, "chrf": Score(value=3.0, signature="nw:0")}

    both = {"before": scores("13a"), "after": scores("zh")}
    monkeypatch.setattr(initial_model_scores, "old_test_scores", lambda *_, **__: both)
    monkeypatch.setattr(initial_model_scores, "model_folder", lambda folder: folder)
    written: list[initial_model_scores.BothScores] = []
    initial_model_scores.InitialModelReport(
        initial=tmp_path / "first",
        trained=tmp_path,
        build_initial=lambda: pytest.fail("the run has no test set"),
        has_old_test=True,
        is_recorded=lambda *_: True,
        write_new_test=written.append,
        write_old_test=written.append,
        device="cpu",
        before_batch=lambda: None,
    )({})
    assert [{when: [*named] for when, named in each.items()} for each in written] == [
        {"before": ["chrf"], "after": ["chrf"]}
    ]
    title = f"test set of {tmp_path / 'first'}: "
    assert capsys.readouterr().err == (
        f"{title}bleu is left out, because its settings differ: tok:13a before, tok:zh after\n"
        f"{title}chrf 3.00 before, 3.00 after\n"
    )


def test_scores_on_the_old_test_set_are_reported(folder: Path) -> None:
    corpus = "task.corpus={type: sample, train: 300, dev: 6, test: 4, seed: 9}"
    stderr = done("training.init_from=first", corpus, "--folder", "reported")
    scores = json.loads(Path("reported/old_test.json").read_text("utf-8"))
    recorded = json.loads(Path("first/model/scores.json").read_text("utf-8"))["test"]
    assert scores["before"] == recorded
    line = f"test set of first: bleu {recorded['bleu']['value']:.2f} before, "
    assert f"{line}{scores['after']['bleu']['value']:.2f} after\n" in stderr


def test_initial_model_is_scored_on_the_new_test_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(predictor: Predictor, split: seqx.Split) -> seqx.Evaluation:
        initial = weights("first")
        assert all(torch.equal(p, initial[name]) for name, p in predictor.model.named_parameters())
        assert len(split.rows) == 4
        signature = evaluation.evaluate(predictor, split).scores["bleu"].signature
        return seqx.Evaluation(scores={"bleu": Score(value=12.5, signature=signature)})

    monkeypatch.setattr(initial_model_scores, "evaluate", evaluate)
    corpus = "task.corpus={type: sample, train: 300, dev: 6, test: 4, seed: 9}"
    stderr = done("training.init_from={model: first, old_test: false}", corpus, "--folder", "new")
    scores = json.loads(Path("new/new_test.json").read_text("utf-8"))
    signature = scores["after"]["bleu"]["signature"]
    assert scores["before"] == {"bleu": {"value": 12.5, "signature": signature}}
    assert scores["after"] == json.loads(Path("new/model/scores.json").read_text("utf-8"))["test"]
    after = scores["after"]["bleu"]["value"]
    assert f"test set of this run: bleu 12.50 before, {after:.2f} after\n" in stderr
    assert "test set of first" not in stderr
    assert not Path("new/old_test.json").exists()


def test_scores_of_an_initial_model_that_does_not_fit_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    def build() -> Predictor:
        raise torch.OutOfMemoryError("out of memory")

    report = initial_model_scores.InitialModelReport(
        initial=Path("first"),
        trained=Path("new"),
        build_initial=build,
        has_old_test=False,
        is_recorded=lambda *_: None,
        write_new_test=lambda _: pytest.fail("there are no scores"),
        write_old_test=lambda _: pytest.fail("there are no scores"),
        device="cpu",
        before_batch=lambda: None,
    )
    report({"test": {"bleu": Score(value=1.0, signature="")}})
    assert "initial model on the test set are unknown (out of memory)" in capsys.readouterr().err


def test_unreadable_old_test_set_does_not_stop_the_run(folder: Path) -> None:
    for name in "ab":
        Path(name).write_text("x\n" * 20, encoding="utf-8")
    files = "task.corpus={type: files, train: [a, b], dev: [a, b], test: [a, b]}"
    done(files, "task.tokenizer.size=263", "--folder", "of_files")
    Path("b").rename("c")
    new = files.replace("b]", "c]")
    stderr = done("training.init_from=of_files", new, "task.tokenizer.size=263", "--folder", "moved")
    assert "training.init_from.old_test: the scores on the test set of of_files are unknown (" in stderr


def test_scores_of_another_old_test_set_are_not_compared(folder: Path) -> None:
    """Fine-tuning often runs in a folder in which files of the same names have other text."""
    for name in "ab":
        Path(name).write_text("x\n" * 20, encoding="utf-8")
    settings = [
        "task.corpus={type: files, train: [a, b], dev: [a, b], test: [a, b]}",
        "task.tokenizer.size=263",
    ]
    done(*settings, "--folder", "of_texts")
    shutil.copytree("of_texts/model", "copied")
    Path("b").write_text("y\n" * 20, encoding="utf-8")
    stderr = done("training.init_from=of_texts", *settings, "--folder", "changed")
    assert (
        "test set of of_texts are unknown (its recipe names other text than when it was trained; relative"
        in stderr
    )
    assert not Path("changed/old_test.json").exists()
    recorded = json.loads(Path("copied/scores.json").read_text("utf-8"))
    recorded["test"]["bleu"]["value"] = 99.0
    Path("copied/scores.json").write_text(json.dumps(recorded), "utf-8")
    done("training.init_from=copied", *settings, "--folder", "unknown")  # nothing records its text
    old, new = (
        json.loads(Path("unknown", name).read_text("utf-8")) for name in ("old_test.json", "new_test.json")
    )
    assert old["before"] == new["before"] != recorded["test"]


def test_labels_and_tags_are_extended_in_order(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tokenizer": Extendable(), "metrics": [TagAccuracy()]}
    report = lambda *_: None  # noqa: E731
    first = Classification(corpus=Rows(train=[("a", "n"), ("b", "p")]), **settings)
    first.learn(tmp_path, report)
    other = Classification(corpus=Rows(train=[("a", "m"), ("b", "p")]), **settings)
    other.extend(tmp_path, tmp_path / "new", report)
    assert isinstance(other.target_tokenizer, Labels)
    assert other.target_tokenizer.labels == ("n", "p", "m")
    tagging = Tagging(corpus=Rows(train=[("a b", "X Y")]), **settings)
    (tmp_path / "tags").mkdir()
    tagging.learn(tmp_path / "tags", report)
    more = Tagging(corpus=Rows(train=[("a b", "A Y")]), **settings)
    (tmp_path / "more").mkdir()
    more.extend(tmp_path / "tags", tmp_path / "more", report)
    assert more.vocab_sizes["target"] == tagging.vocab_sizes["target"] + 1
    assert more.symbols("target", range(4, 7)) == ["X", "Y", "A"]


class Extendable(Letters):
    """The tokenizer of letters, whose vocabulary is always the same."""

    def extend(self, lines: Any, old: Path, folder: Path) -> None:
        self.learn(lines, folder)


def test_tokenizer_and_task_that_cannot_extend_say_so(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match="Letters cannot extend a vocabulary; set vocabulary: keep"):
        Letters().extend([], tmp_path, tmp_path)
    with pytest.raises(seqx.UserError, match="the task Tagging cannot extend a vocabulary; set"):
        seqx.Task.extend(Tagging.__new__(Tagging), tmp_path, tmp_path, lambda *_: None)


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_sentencepiece_keeps_all_segmentations_when_it_is_extended(model: Any, tmp_path: Path) -> None:
    lines = [row[0] for row in Sample(train=300, dev=0, test=0).rows("train")]
    first = SentencePiece(size=340, model=model, symbols=("<a>",))
    first.learn(iter(lines), tmp_path / "first")
    symbol = "<" + "long" * 50 + "ß>"
    second = SentencePiece(size=340, model=model, symbols=("<a>", symbol))
    second.extend(iter(lines), tmp_path / "first", tmp_path / "second")
    assert second.size == 341
    for line in [*lines[:50], "ünknown 日本 <a> x", "<b>"]:
        assert second.encode(line) == first.encode(line)
    assert 340 in second.encode(f"{symbol}x")
    assert second.decode(second.encode(f"{symbol} x")) == f"{symbol} x"


def test_marian_tokenizer_gets_new_languages(tmp_path: Path) -> None:
    lines = [row[0] for row in Sample(train=300, dev=0, test=0).rows("train")]
    first = Marian(size=80, symbols=(">>fra<<",))
    first.learn(iter(lines), tmp_path / "first")
    second = Marian(size=80, symbols=(">>ita<<", ">>fra<<"))
    second.extend(iter([]), tmp_path / "first", tmp_path / "second")
    assert second.size == first.size + 1
    assert second.encode(">>ita<< We wait.") == [first.size, *first.encode("We wait.")]
    assert second.encode(">>fra<< We wait.") == first.encode(">>fra<< We wait.")


def test_patterns_match_names_of_parameters_and_of_modules() -> None:
    module = torch.nn.ModuleDict(
        {"encoder": torch.nn.ModuleList([torch.nn.Linear(1, 1)]), "x": torch.nn.Linear(1, 1)}
    )
    assert [*frozen_parameters(module, "encoder")] == ["encoder.0.weight", "encoder.0.bias"]
    assert [*frozen_parameters(module, "*.bias")] == ["encoder.0.bias", "x.bias"]
    assert [*frozen_parameters(module, "encoder.0.weight")] == ["encoder.0.weight"]
    assert not frozen_parameters(module, "enc")
