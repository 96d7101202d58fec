"""Checkpoints are restored exactly, damage is reported, and weights are averaged."""

import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from seqx.errors import DamagedError, UserError
from seqx.interfaces.scores import Evaluation, Interval, Score, ValidationScore
from seqx.storage import model_folder, state_dict
from seqx.storage.checkpoint_info import CheckpointInfo, TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import FORMAT, read_json
from seqx.storage.manifest import Manifest
from seqx.storage.weights import WEIGHTS, average, read_weights
from seqx.training.recovery.skipped_batches import remove_later_checkpoints
from tests import forked

CPU = torch.device("cpu")


class Tied(nn.Module):
    """A model with tied embeddings, a buffer and integer weights."""

    counter: Tensor

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(7, width)
        self.projection = nn.Linear(width, 7, bias=False)
        self.projection.weight = self.embedding.weight
        self.hidden = nn.Linear(width, width)
        self.register_buffer("counter", torch.tensor(seed))

    def forward(self, ids: Tensor) -> Tensor:
        return self.projection(torch.tanh(self.hidden(self.embedding(ids))))


def trained(model: Tied, updates: int) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    learn(model, optimizer, updates)
    return optimizer


def learn(model: Tied, optimizer: torch.optim.Optimizer, updates: int) -> None:
    """Train with inputs and dropout from torch's random number generator."""
    for _ in range(updates):
        ids = torch.randint(0, 7, (5,))
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.dropout(model(ids), 0.5).square().sum())
        optimizer.step()


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(p, q) for p, q in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def validation_score(value: float) -> ValidationScore:
    return Evaluation(scores={"bleu": Score(value=value, signature="")}).validation_score()


def saved(folder: Path, *steps: int) -> Checkpoints:
    """Save a checkpoint for each step, which is the seed of its model; the best score is that of step 30."""
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(
            TrainingProgress(step=step), Tied(step), {}, score=validation_score(-abs(step - 30.0))
        )
    return checkpoints


def test_restored_training_continues_identically(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    model = Tied()
    optimizer = trained(model, 3)
    progress = TrainingProgress(
        step=3, epoch=1, index=2, tokens=15, seconds=1.5, best=27.25, best_step=2, stale=1
    )
    path = checkpoints.save(
        progress, model, {"optimizer": optimizer.state_dict()}, score=validation_score(27.25)
    )
    learn(model, optimizer, 3)

    other = Tied(seed=9)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.5, fused=True)
    assert path == checkpoints.path(3) == tmp_path / "checkpoints" / "00000003"
    restored, states = checkpoints.restore(3, other, CPU)
    optimizer.load_state_dict(states["optimizer"])
    assert restored == progress
    assert other.projection.weight is other.embedding.weight
    assert not same_weights(model, other)
    learn(other, optimizer, 3)
    assert same_weights(model, other)


def test_checkpoint_steps_are_sorted(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").steps() == []
    assert saved(tmp_path, 9, 100, 20).steps() == [9, 20, 100]
    (tmp_path / "notes").mkdir()
    assert Checkpoints(tmp_path).steps() == [9, 20, 100]


def test_saving_a_step_again_replaces_the_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5)
    checkpoints.save(TrainingProgress(step=5, tokens=7), Tied(6), {}, ranked=False)
    model = Tied()
    assert checkpoints.restore(5, model, CPU)[0].tokens == 7
    assert same_weights(model, Tied(6))
    assert names_in(tmp_path) == ["00000005"]


@pytest.mark.parametrize(
    ("select", "keep", "selected", "left"),
    [
        ("last", 2, [40, 50], [30, 40, 50]),  # the best checkpoint is kept, too
        ("best", 2, [30, 40], [30, 40, 50]),
        ("best", 1, [30], [30, 50]),
        ("last", 9, [10, 20, 30, 40, 50], [10, 20, 30, 40, 50]),
    ],
)
def test_select_and_prune_by_last_or_best(
    tmp_path: Path, select: str, keep: int, selected: list[int], left: list[int]
) -> None:
    checkpoints = saved(tmp_path, 10, 20, 30, 40, 50)
    assert checkpoints.select(keep, order=select, warn=print) == selected
    checkpoints.prune(keep, order=select, warn=print)
    assert checkpoints.steps() == left


def test_unranked_checkpoints_are_never_selected_or_kept_for_long(tmp_path: Path) -> None:
    """An unranked checkpoint is removed once there is a newer one, and never replaces a ranked one."""
    checkpoints = saved(tmp_path, 10, 20)
    for step in (25, 27):
        checkpoints.save(TrainingProgress(step=step), Tied(), {}, ranked=False)
        checkpoints.prune(2, order="last", warn=print)
        assert checkpoints.steps() == [10, 20, step]
        assert (
            checkpoints.select(5, order="last", warn=print)
            == checkpoints.select(5, order="best", warn=print)
            == [10, 20]
        )


def test_newest_checkpoint_is_selected_if_none_is_ranked(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.select(3, order="last", warn=print) == []
    for step in (1, 2):
        checkpoints.save(TrainingProgress(step=step), Tied(), {}, ranked=False)
    assert (
        checkpoints.select(3, order="last", warn=print)
        == checkpoints.select(3, order="best", warn=print)
        == [2]
    )


def test_best_checkpoints_are_selected_among_scored_ones(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10, 30)
    checkpoints.save(TrainingProgress(step=40), Tied(), {})
    assert checkpoints.select(1, order="best", warn=print) == [30]
    assert checkpoints.select(3, order="best", warn=print) == [10, 30]


def test_best_of_checkpoints_with_the_worst_score_has_the_lowest_perplexity(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, perplexity in enumerate((50.0, 40.0, math.nan, 45.0, 60.0)):
        scores = {"bleu": Score(value=0.0, signature="")}
        score = Evaluation(scores=scores, perplexity=perplexity).validation_score()
        checkpoints.save(TrainingProgress(step=step), Tied(), {}, score=score)
    assert checkpoints.select(1, order="best", warn=print) == [1]
    assert checkpoints.select(2, order="best", warn=print) == [1, 3]


@pytest.mark.promise("checkpoints-are-atomic")
def test_failed_save_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 10)

    def interrupt(*_: object) -> None:
        assert len(names_in(tmp_path)) == 2  # the weights of the new checkpoint are written
        assert checkpoints.steps() == [10]
        raise KeyboardInterrupt

    monkeypatch.setattr(state_dict, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(TrainingProgress(step=20), Tied(), {})
    assert names_in(tmp_path) == ["00000010"]


@pytest.mark.promise("checkpoints-are-atomic")
def test_leftovers_of_a_killed_save_are_pruned(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    shutil.copytree(checkpoints.path(10), tmp_path / ".00000020.0a1b2c3d.part")
    assert checkpoints.steps() == [10]
    checkpoints.prune(1, order="last", warn=print)
    assert names_in(tmp_path) == ["00000010"]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwrite(file: Path) -> None:
    file.write_bytes(b"\x00\x01nonsense" * 20)


@pytest.mark.parametrize("max_bytes", [100, 900])
def test_save_on_a_full_disk_keeps_older_checkpoints(tmp_path: Path, max_bytes: int) -> None:
    """A limit on the size of files makes the libraries fail in the middle of a file."""
    script = tmp_path / "save.py"
    script.write_text(
        f"""
import resource, torch
from pathlib import Path
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.checkpoints import Checkpoints
from seqx.errors import UserError
model, checkpoints = torch.nn.Linear(8, 9), Checkpoints(Path({str(tmp_path / "checkpoints")!r}))
checkpoints.save(TrainingProgress(step=1), model, {{}})
resource.setrlimit(resource.RLIMIT_FSIZE, ({max_bytes}, {max_bytes}))
try:
    checkpoints.save(TrainingProgress(step=2), model, {{"optimizer": torch.zeros(1000)}})
except UserError as error:
    print(error)
""",
        encoding="utf-8",
    )
    result = forked.run(sys.executable, script)
    assert result.stdout == (
        f"{tmp_path}/checkpoints/00000002: cannot be written: File too large; "
        "raise the limit on the size of files (ulimit -f)\n"
    )
    assert (result.returncode, result.stdout.count("\n"), result.stderr) == (0, 1, "")
    assert names_in(tmp_path / "checkpoints") == ["00000001"]


@pytest.mark.promise("checkpoints-are-atomic")
def test_pruned_checkpoint_is_never_seen_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(TrainingProgress(step=step), Tied(), {})
    monkeypatch.setattr(
        shutil, "rmtree", lambda *_, **__: None
    )  # the process is killed before it deletes anything
    checkpoints.prune(1, order="last", warn=print)
    assert checkpoints.steps() == [3]
    monkeypatch.undo()
    checkpoints.prune(1, order="last", warn=print)
    assert [path.name for path in tmp_path.iterdir()] == ["00000003"]


@pytest.mark.promise("damage-is-detected")
@pytest.mark.parametrize("damage", [truncate, overwrite, Path.unlink])
@pytest.mark.parametrize("name", [WEIGHTS, "states.json", "states.safetensors", "checkpoint.json"])
def test_damaged_checkpoint_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    checkpoints = saved(tmp_path, 10)
    damage(checkpoints.path(10) / name)
    with pytest.raises(DamagedError, match=rf"00000010/{name}: cannot be read"):
        checkpoints.restore(10, Tied(), CPU)
    if damage is not Path.unlink:
        Manifest.seal(checkpoints.path(10), FORMAT)  # the hashes fit the damaged file
        with pytest.raises(DamagedError, match=rf"00000010/{name}: cannot be read"):
            checkpoints.restore(10, Tied(), CPU)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    with pytest.raises(UserError, match=rf"00000010/{WEIGHTS}: holds the weights of another model"):
        checkpoints.restore(10, Tied(width=5), CPU)


def test_checkpoint_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    file = checkpoints.path(10) / "checkpoint.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "format": info["format"] + 1, "progress": {"hops": 3}}))
    Manifest.seal(checkpoints.path(10), FORMAT)
    with pytest.raises(UserError, match=r"written by a newer seqx .*update seqx"):
        checkpoints.restore(10, Tied(), CPU)


@pytest.mark.promise("damage-is-detected")
@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        *(("format", value, "format") for value in (0, -1, True, None, 1.0, "2", [2], float("inf"))),
        ("score", "high", "score"),
        ("ranked", None, "ranked"),
        ("progress", None, "progress"),
        ("progress", {"step": "two"}, "progress.step"),
        ("progress", {"tokens": -1}, "progress.tokens"),
        *(
            ("progress", {"seconds": value}, "progress.seconds")
            for value in (float("inf"), float("nan"), -1, 1e300)
        ),
    ],
)
def test_checkpoint_json_is_validated(tmp_path: Path, name: str, value: object, path: str) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    file = checkpoints.path(10) / "checkpoint.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    Manifest.seal(checkpoints.path(10), FORMAT)  # the hashes fit the damaged file
    for read in (checkpoints.progress, lambda: checkpoints.restore(10, Tied(), CPU)):
        with pytest.raises(DamagedError, match=rf"checkpoint\.json: cannot be read \({path}: "):
            read()
    warnings: list[str] = []
    assert checkpoints.select(2, order="last", warn=warnings.append) == [5]
    assert [f"cannot be read ({path}: " in warning for warning in warnings] == [True]


@pytest.mark.promise("damage-is-detected")
def test_format_1_is_refused(tmp_path: Path) -> None:
    """A checkpoint cannot avoid the check of hashes by claiming format 1, which had none."""
    checkpoints = saved(tmp_path, 10)
    path = checkpoints.path(10)
    info = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**info, "format": 1}))
    message = r"^.*00000010/checkpoint\.json: has format 1, which this version of seqx cannot read"
    Manifest.seal(path, FORMAT)
    with pytest.raises(UserError, match=message):
        checkpoints.info(10)
    (path / "manifest.json").unlink()
    with pytest.raises(UserError, match=message):
        checkpoints.restore(10, Tied(), CPU)


@pytest.mark.promise("damage-is-detected")
def test_checkpoint_without_manifest_is_damaged(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    (checkpoints.path(10) / "manifest.json").unlink()
    with pytest.raises(DamagedError, match=r"manifest\.json: cannot be read \(it is missing\)"):
        checkpoints.info(10)


@pytest.mark.promise("checkpoints-execute-nothing")
def test_restoring_executes_nothing(tmp_path: Path) -> None:
    """A pickle in place of any file of a checkpoint is refused, and its code is not run."""

    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    checkpoints = saved(tmp_path / "checkpoints", 10)
    path = checkpoints.path(10)
    for name in (WEIGHTS, "states.json", "states.safetensors", "checkpoint.json", "manifest.json"):
        content = {file: (path / file).read_bytes() for file in (name, "manifest.json")}
        torch.save({"states": {"x": Trap()}, "rng": {}}, path / name)
        if name != "manifest.json":
            Manifest.seal(path, FORMAT)
        with pytest.raises(UserError, match=rf"{name}: cannot be read"):
            checkpoints.restore(10, Tied(), CPU)
        for file, data in content.items():
            (path / file).write_bytes(data)
    checkpoints.restore(10, Tied(), CPU)
    assert not (tmp_path / "sprung").exists()


def test_average_equals_numpy_mean(tmp_path: Path) -> None:
    files = [saved(tmp_path, 1, 2, 5).path(step) / WEIGHTS for step in (1, 2, 5)]
    mean = average(files)
    arrays = [load_file(file) for file in files]
    assert mean.keys() == arrays[0].keys()
    assert "counter" in mean
    for name, tensor in mean.items():
        expected = np.average([array[name].astype(np.float64) for array in arrays], 0)
        assert tensor.numpy().dtype == arrays[0][name].dtype
        np.testing.assert_array_equal(tensor.numpy(), expected.astype(arrays[0][name].dtype), err_msg=name)


def test_average_of_equal_weights_is_exact(tmp_path: Path) -> None:
    file = saved(tmp_path, 3).path(3) / WEIGHTS
    mean = average([file] * 5)
    for name, tensor in average([file]).items():
        assert torch.equal(tensor, mean[name])


def test_average_refuses_different_tensors(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    checkpoints.save(TrainingProgress(step=2), nn.Linear(2, 2), {})
    with pytest.raises(UserError, match=r"00000002/.*: holds other tensors than .*00000001"):
        average([checkpoints.path(step) / WEIGHTS for step in (1, 2)])


def test_average_refuses_different_shapes(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    checkpoints.save(TrainingProgress(step=2), Tied(width=1), {})
    with pytest.raises(UserError, match=r"00000002/.*: holds other tensors than .*00000001"):
        average([checkpoints.path(step) / WEIGHTS for step in (1, 2)])


def test_read_json_refuses_a_list(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.json"
    file.write_text("[1]")
    with pytest.raises(UserError, match=r"checkpoint\.json: cannot be read"):
        read_json(file)


def test_model_folder_has_weights_recipe_vocabulary_and_scores(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary"
    vocabulary.mkdir()
    (vocabulary / "pieces").write_text("a b c")
    weights = average([saved(tmp_path / "checkpoints", 4).path(4) / WEIGHTS])
    folder = tmp_path / "model"
    model_folder.write_model(folder, weights, recipe="task: ä\n", vocabulary=vocabulary, info={"steps": [4]})
    model = Tied()
    read_weights(model, folder / WEIGHTS)
    assert same_weights(model, Tied(4))
    assert (folder / "recipe.yaml").read_text(encoding="utf-8") == "task: ä\n"
    assert (folder / "task" / "pieces").read_text() == "a b c"
    assert read_json(folder / "model.json") == {"format": FORMAT, "steps": [4]}
    model_folder.write_scores(folder, {"test": {"bleu": Score(value=27.5, signature="v:1")}})
    scores = json.loads((folder / "scores.json").read_text())
    assert scores == {"test": {"bleu": {"value": 27.5, "signature": "v:1"}}}


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    interval = Interval(mean=40.1, margin=1.2)
    scores = {
        "bleu": Score(value=40.0, signature="v:1|valid:3", results=["valid"], interval=interval),
        "ter": Score(value=50.0, signature="", lower_is_better=True, is_detail=True),
    }
    model_folder.write_scores(tmp_path, {"test": scores})
    assert model_folder.read_scores(tmp_path) == {"test": scores}


def flip_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.promise("damage-is-detected")
@pytest.mark.parametrize("name", [WEIGHTS, "states.json", "states.safetensors", "checkpoint.json"])
def test_flipped_bit_is_detected(tmp_path: Path, name: str) -> None:
    checkpoints = saved(tmp_path, 10)
    flip_bit(checkpoints.path(10) / name)
    with pytest.raises(DamagedError, match=rf"00000010/{name}: cannot be read \(its bytes are not those"):
        checkpoints.restore(10, Tied(), CPU)


@pytest.mark.promise("damage-is-detected")
@pytest.mark.parametrize("name", [WEIGHTS, "states.json", "states.safetensors", "checkpoint.json"])
def test_progress_checks_the_sizes_of_all_files(tmp_path: Path, name: str) -> None:
    """Reading the progress finds any truncated file."""
    checkpoints = saved(tmp_path, 10)
    truncate(checkpoints.path(10) / name)
    with pytest.raises(DamagedError, match=rf"00000010/{name}: cannot be read"):
        checkpoints.progress()


def test_invalid_manifest_is_damage(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    file = checkpoints.path(10) / "manifest.json"
    whole = json.loads(file.read_text())
    entry = whole["files"][WEIGHTS]
    for text in (
        *("", "{", "[]", "{}", "3", "[" * 100_000, '{"format": 2, "files": []}'),
        json.dumps({**whole, "files": {"../00000010/x": entry}}),
        json.dumps({**whole, "files": {"/etc/passwd": entry}}),
        json.dumps({**whole, "files": {WEIGHTS: {**entry, "size": "4"}}}),
        json.dumps({**whole, "files": {WEIGHTS: {"size": entry["size"]}}}),
        *(json.dumps({**whole, "files": {name: entry}}) for name in ("a\0b", "a\ud800b", "a" * 2000)),
        *(
            json.dumps({**whole, "format": number})
            for number in ("9", 2.5, [3], None, -1, 0, True, float("inf"))
        ),
        json.dumps(whole) + " " * 2**20,
    ):
        file.write_text(text)
        with pytest.raises(DamagedError, match=r"manifest\.json: cannot be read"):
            checkpoints.restore(10, Tied(), CPU)
    file.unlink()
    with pytest.raises(DamagedError, match=r"manifest\.json: cannot be read \(it is missing\)"):
        checkpoints.restore(10, Tied(), CPU)


@pytest.mark.promise("fallback-to-older-checkpoint")
def test_resume_uses_the_newest_intact_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10, 20, 30)
    truncate(checkpoints.path(30) / WEIGHTS)
    flip_bit(checkpoints.path(20) / "states.safetensors")
    model, warnings = Tied(), list[str]()
    restored = checkpoints.resume(model, CPU, warnings.append)
    assert restored is not None
    assert restored[0].step == 10
    assert same_weights(model, Tied(10))
    assert [line.partition(": cannot be read (")[0] for line in warnings] == [
        f"{tmp_path}/00000030/{WEIGHTS}",
        f"{tmp_path}/00000020/states.safetensors",
    ]
    assert warnings[0].endswith(
        "resuming from the checkpoint of update 10; it was renamed to 00000030.damaged"
    )
    assert checkpoints.steps() == [10]
    assert sorted(names_in(tmp_path)) == ["00000010", "00000020.damaged", "00000030.damaged"]
    checkpoints.save(TrainingProgress(step=20), Tied(20), {})
    checkpoints.prune(1, order="last", warn=print)
    assert checkpoints.steps() == [10, 20]  # the best checkpoint is kept, too


@pytest.mark.promise("fallback-to-older-checkpoint")
def test_resume_refuses_to_start_again_if_all_are_damaged(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    truncate(checkpoints.path(10) / WEIGHTS)
    warnings = list[str]()
    with pytest.raises(UserError, match=rf"cannot be read .*; .* remove {tmp_path} to start again"):
        checkpoints.resume(Tied(), CPU, warnings.append)
    assert (warnings, checkpoints.steps()) == ([], [10])


@pytest.mark.promise("damaged-older-checkpoint")
def test_damaged_checkpoint_does_not_stop_pruning_or_averaging(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10, 20, 30, 40)
    truncate(checkpoints.path(10) / "states.safetensors")
    flip_bit(checkpoints.path(20) / WEIGHTS)  # without changing its size
    warnings = list[str]()
    checkpoints.prune(9, order="last", warn=warnings.append)
    assert [line.partition(": cannot be read (")[0] for line in warnings] == [
        f"{tmp_path}/00000010/states.safetensors"
    ]
    assert warnings[0].endswith("; continuing without it; it was renamed to 00000010.damaged")
    assert checkpoints.steps() == [20, 30, 40]
    steps, weights = checkpoints.average(3, order="last", warn=warnings.append)
    assert (steps, checkpoints.steps()) == ([30, 40], [20, 30, 40])
    assert warnings[1].startswith(f"{tmp_path}/00000020/{WEIGHTS}: cannot be read (its bytes are not those")
    assert warnings[1].endswith("; it is not averaged")
    assert checkpoints.select_intact([(3, "last")], warn=warnings.append) == [checkpoints.steps()] == [steps]
    assert warnings[2:] == [f"{warnings[1]}; it was renamed to 00000020.damaged"]
    for name, tensor in average([checkpoints.path(step) / WEIGHTS for step in steps]).items():
        assert torch.equal(weights[name], tensor)
    for step in steps:
        flip_bit(checkpoints.path(step) / WEIGHTS)
    with pytest.raises(UserError, match=f"{tmp_path}: there is no intact checkpoint .*bytes"):
        checkpoints.average(3, order="last", warn=warnings.append)
    with pytest.raises(UserError, match=f"{tmp_path}: there is no intact checkpoint .*bytes"):
        checkpoints.select_intact([(3, "last"), (1, "best")], warn=warnings.append)
    assert checkpoints.steps() == [30, 40]
    assert len(warnings) == 3


@pytest.mark.promise("damaged-older-checkpoint")
def test_resume_refuses_to_start_again_if_all_were_set_aside(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    checkpoints.path(10).rename(tmp_path / "00000010.damaged")
    with pytest.raises(UserError, match=r"only damaged checkpoints are left \(00000010\.damaged\)"):
        checkpoints.resume(Tied(), CPU, print)


@pytest.mark.promise("unreadable-is-not-damaged")
def test_unreadable_checkpoint_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing permissions or an unavailable disk stop the run, and no checkpoint is renamed."""
    checkpoints = saved(tmp_path, 10, 20)

    def refuse(file: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr("seqx.storage.manifest.sha256", refuse)
    for read in (
        lambda: checkpoints.resume(Tied(), CPU, print),
        lambda: checkpoints.average(2, order="last", warn=print),
        lambda: checkpoints.select_intact([(2, "last")], warn=print),
        lambda: checkpoints.prune(1, order="last", warn=print),
    ):
        with pytest.raises(UserError, match=r"cannot be read \(Permission denied\); fix that") as caught:
            read()
        assert not isinstance(caught.value, DamagedError)
    assert sorted(names_in(tmp_path)) == ["00000010", "00000020"]


def test_rollback_after_a_killed_one_removes_later_checkpoints(tmp_path: Path) -> None:
    """A process that is killed while it removes a checkpoint leaves a part of it under a hidden name."""
    checkpoints = saved(tmp_path, 10, 20, 30)
    shutil.copytree(checkpoints.path(30), tmp_path / ".00000030.old")
    remove_later_checkpoints(10, checkpoints)
    assert names_in(tmp_path) == ["00000010"]


@pytest.mark.promise("damaged-older-checkpoint")
def test_checkpoint_pruned_meanwhile_is_not_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints, warnings = saved(tmp_path, 10, 20, 30), list[str]()
    flip_bit(checkpoints.path(30) / WEIGHTS)
    info = Checkpoints.info

    def pruning(self: Checkpoints, step: int) -> CheckpointInfo:
        shutil.rmtree(self.path(10), ignore_errors=True)
        return info(self, step)

    monkeypatch.setattr(Checkpoints, "info", pruning)
    steps, _ = checkpoints.average(3, order="last", warn=warnings.append)
    assert steps == [20]
    assert [line.rpartition(";")[2] for line in warnings] == [" it is not averaged"]
    assert checkpoints.steps() == [20, 30]


@pytest.mark.promise("prune-after-verification")
def test_old_checkpoints_stay_if_the_new_one_fails_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path, 10)
    monkeypatch.setattr(
        Manifest, "drop_page_cache", lambda self: flip_bit(self.folder / WEIGHTS)
    )  # simulates a bad disk
    with pytest.raises(UserError, match=rf"00000020/{WEIGHTS}: .*though it was just written; check the "):
        checkpoints.save(TrainingProgress(step=20), Tied(20), {})
    monkeypatch.undo()
    restored = checkpoints.resume(Tied(), CPU, lambda _: None)
    assert restored is not None
    assert restored[0].step == 10


def test_save_removes_leftovers_of_a_killed_save(tmp_path: Path) -> None:
    """Leftovers are removed before the next checkpoint is written, because they may fill the disk."""
    checkpoints = saved(tmp_path, 10)
    shutil.copytree(checkpoints.path(10), tmp_path / ".00000020.0a1b2c3d.part")
    checkpoints.save(TrainingProgress(step=20), Tied(20), {})
    assert sorted(names_in(tmp_path)) == ["00000010", "00000020"]


@pytest.mark.promise("checkpoints-are-atomic")
def test_files_of_the_user_in_the_folder_of_checkpoints_are_kept(tmp_path: Path) -> None:
    """The folder may be a link to a folder with other files, such as a home folder on a larger disk."""
    scratch = tmp_path / "scratch"
    mine = {".ssh/id", ".cache/seqx/.a.0a1b2c3d.part", ".bashrc", ".page.html.0a1b2c3d.part", ".1.old/file"}
    theirs = {
        ".00000020.0a1b2c3d.part/file",
        ".00000010.0a1b2c3d.replaced.part/00000010/old",
        ".00000020.old/file",
    }
    for name in (*mine, *theirs, "movies/.film.part"):
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).touch()
    (tmp_path / "checkpoints").symlink_to(scratch)
    checkpoints = saved(tmp_path / "checkpoints", 10)
    checkpoints.prune(1, order="last", warn=print)
    files = {str(path.relative_to(scratch)) for path in scratch.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("00000010/")} == mine | {"movies/.film.part"}
