"""`seqx replay`: the batch, losses and gradients of any update of a run, whose folder is not changed."""

import itertools
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqx.commands import replay
from seqx.commands.replayed_update import example_losses
from seqx.storage.locks import file_lock
from seqx.training.gradient_accumulation import GradientAccumulation
from seqx_runs import replay_text
from tests import forked
from tests.models import PARSING
from tests.stories.test_faults import TEXT
from tests.stories.test_text_tasks import RECIPES, SMALL, STACK
from tests.stories.tiny import STOPPER, TINY, done, files, lines, refused, seqx, tiny

STACKS = [f"model.{side}.{each}" for side in ("encoder", "decoder") for each in STACK]
FILES = "{type: files, train: [train.en, train.de], dev: [dev.en, dev.de], test: [dev.en, dev.de]}"
RECIPE = (
    TINY.replace("{type: sample, train: 300, dev: 6, test: 6}", FILES)
    .replace("size: 400", "size: 290")
    .replace("max_length: 24", "max_length: 99")
)


def write_text() -> None:
    """Write training text in which line 4 is empty, and line 11 repeats line 1."""
    for side in ("en", "de"):
        train = [*TEXT[:3], "\n", *TEXT[3:9], TEXT[0], *TEXT[9:]]
        Path(f"train.{side}").write_text("".join(train), encoding="utf-8")
        Path(f"dev.{side}").write_text("".join(TEXT[:3]), encoding="utf-8")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[list[int]]]]:
    """Create a finished run of six updates in two epochs; return it with the microbatches of each update."""
    folder = tmp_path_factory.mktemp("replay")
    used = list[list[list[int]]]()
    accumulate = GradientAccumulation.accumulate_gradients

    def record(self: GradientAccumulation, batch: Any, *arguments: Any, **options: Any) -> Any:
        used.append([microbatch.examples.tolist() for microbatch in batch.microbatches])
        return accumulate(self, batch, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(GradientAccumulation, "accumulate_gradients", record)
        write_text()
        done("run", tiny(RECIPE), "training.microbatch=150", "training.clip=1", "--folder", "run")
    return folder, used


@pytest.fixture
def batches(
    finished_run: tuple[Path, list[list[list[int]]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[list[list[int]]]:
    """Copy the run to `run` in the current folder; return the microbatches of each update."""
    folder, used = finished_run
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return used


def replayed(*arguments: str | int | Path, run: str | Path = "run") -> dict[str, Any]:
    """Return the JSON of `seqx replay`, which must not change the folder of the run."""
    before = files(Path(run))
    found: dict[str, Any] = json.loads(done("replay", run, *map(str, arguments), "--json", "--top", "0"))
    assert files(Path(run)) == before
    return found


def recorded_loss(step: int, run: str | Path = "run") -> tuple[float, float]:
    line = lines(Path(run), "update")[step - 1]
    assert line["step"] == step
    return line["loss"], line["norm"]


def computed_loss(found: dict[str, Any]) -> tuple[float, float]:
    return found["computed"]["loss"], found["computed"]["norm"]


@pytest.mark.promise("replay-is-bitwise-equal")
@pytest.mark.parametrize(("step", "source"), [(1, None), (3, "run/checkpoints/00000002")])
def test_replay_after_a_checkpoint_equals_the_run(
    step: int, source: str | None, batches: list[list[list[int]]]
) -> None:
    found = replayed(step)
    assert found["weights"] == {"source": source, "step": step - 1, "repeated": 0, "exact": True}
    assert computed_loss(found) == recorded_loss(step)
    assert found["recorded"]["loss"] == found["computed"]["loss"]
    assert found["computed"]["learning_rate"] == lines(Path("run"), "update")[step - 1]["learning_rate"]
    microbatches: dict[int, list[int]] = {}
    for example in found["examples"]:
        microbatches.setdefault(example["microbatch"] - 1, []).append(example["example"])
    assert len(microbatches) > 1
    assert [sorted(part) for _, part in sorted(microbatches.items())] == list(map(sorted, batches[step - 1]))


def test_replay_repeats_updates_to_get_exact_weights(batches: list[list[list[int]]]) -> None:
    shutil.rmtree("run/checkpoints/00000002")
    shutil.rmtree("run/model")
    far, exact = replayed(4), replayed(4, "--exact")
    assert far["weights"] == {
        "source": "run/checkpoints/00000004", "step": 4, "repeated": 0, "exact": False
    }  # fmt: skip
    assert exact["weights"] == {"source": None, "step": 0, "repeated": 3, "exact": True}
    assert computed_loss(exact) == recorded_loss(4) != computed_loss(far)
    for found in (far, exact):
        assert {each["example"] for each in found["examples"]} == {i for part in batches[3] for i in part}
    printed = done("replay", "run", "4")
    assert "run/checkpoints/00000004, 1 update later: loss and gradients are not those of the run" in printed


def test_replay_shows_text_with_file_and_line_although_rows_were_dropped(
    batches: list[list[list[int]]],
) -> None:
    text = Path("train.en").read_text(encoding="utf-8").splitlines()
    for example in replayed(3, "--no-losses")["examples"]:
        assert example["location"] == f"{Path('train.en').absolute()}:{example['row']}"
        assert example["text"]["source"] == text[example["row"] - 1]
        assert "".join(example["tokens"]["target"]).replace("▁", " ").strip() == (
            example["text"]["target"] + "</s>"
        )


@pytest.mark.parametrize(("order", "value"), [("gradient", "norm"), ("token-loss", "loss_per_token")])
def test_replay_shows_the_worst_sentences_first(
    order: str, value: str, batches: list[list[list[int]]]
) -> None:
    found = replayed(5, "--by", order)
    values = [example[value] for example in found["examples"]]
    assert values == sorted(values, reverse=True)
    first = found["examples"][0]
    printed = done("replay", "run", "5", "--by", order, "--top", "1", "--tokens")
    assert f"(1 of {len(values)}; --top 0 shows all)" in printed
    assert printed.count("  source: ") == 1
    assert f"    source:  {first['text']['source']}\n" in printed
    assert f"    target tokens: {' '.join(first['tokens']['target'])}\n" in printed
    assert "loss and gradient norm are those of the run, to the last digit" in printed


def test_losses_of_sentences_add_up_without_dropout(batches: list[list[list[int]]]) -> None:
    recipe = Path("run/recipe.yaml")
    text = recipe.read_text(encoding="utf-8")
    assert "dropout: 0.1" in text
    recipe.write_text(text.replace("dropout: 0.1", "dropout: 0.0"), encoding="utf-8")
    found = replayed(3)
    total = sum(example["loss"] for example in found["examples"])
    assert total / found["target_tokens"] == pytest.approx(found["computed"]["loss"], rel=1e-5)
    assert max(example["norm"] for example in found["examples"]) < found["computed"]["norm"]
    assert found["computed"]["norm"] < sum(example["norm"] for example in found["examples"])


def test_replay_uses_the_model_if_there_is_no_checkpoint(batches: list[list[list[int]]]) -> None:
    shutil.rmtree("run/checkpoints")
    found = replayed(3)
    assert found["weights"] == {"source": "run/model", "step": 6, "repeated": 0, "exact": False}
    assert {each["example"] for each in found["examples"]} == {i for part in batches[2] for i in part}
    assert computed_loss(replayed(3, "--exact")) == recorded_loss(3)


def test_replay_ignores_a_damaged_checkpoint_and_leaves_it(batches: list[list[list[int]]]) -> None:
    weights = Path("run/checkpoints/00000002/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    before = files(Path("run"))
    result = seqx("replay", "run", "3")
    assert "checkpoints/00000004, 2 updates later" in result.stdout
    assert f"{weights}: " in result.stderr
    assert files(Path("run")) == before


def test_replay_of_a_run_in_progress_takes_no_lock(batches: list[list[list[int]]]) -> None:
    for name in ("model", "outputs", "checkpoints/00000006"):
        shutil.rmtree(Path("run", name))
    metrics = Path("run/metrics.jsonl")
    rows = metrics.read_text(encoding="utf-8").splitlines()
    until = next(i for i, row in enumerate(rows) if json.loads(row).get("step") == 5)
    metrics.write_text("\n".join(rows[:until]) + "\n", encoding="utf-8")
    with file_lock(Path("run/.lock")):
        printed = done("replay", "run", "6", "--exact")
    assert "run/checkpoints/00000004, after making 1 update again: those with which the run made" in printed
    assert "the run has recorded 4 updates so far, and not yet this one" in printed
    assert "run/metrics.jsonl has no record of this update" in printed


def test_replay_shows_an_update_that_a_rollback_has_undone(batches: list[list[list[int]]]) -> None:
    at = {"step": 3, "epoch": 0, "index": 2}
    rollback = {"why": "spike", "from": 3, "to": 2, "said": "", "batches": [[at["epoch"], at["index"]]]}
    Path("run/skipped_batches.json").write_text(
        json.dumps({"format": 1, "returns": [rollback]}), encoding="utf-8"
    )
    now, undone = replayed(3, "--no-losses"), replayed(3, "--undone")
    assert (now["batch"], undone["batch"]) == (4, 3)
    assert {each["example"] for each in undone["examples"]} == {i for part in batches[2] for i in part}
    assert undone["weights"]["exact"]
    assert "the run rolled back an earlier update 3: --undone shows that one" in done(
        "replay", "run", "3", "--no-losses"
    )
    assert "update 3 before the rollback: batch 3 " in done("replay", "run", "3", "--undone", "--no-losses")
    assert refused("replay", "run", "4", "--undone") == (
        "run: no rollback has undone update 4; leave out --undone\n"
    )


@pytest.mark.slow
def test_replay_uses_the_ranks_of_the_start_that_made_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run begins with one rank, makes updates 3 and 4 with two ranks, and ends with one."""
    monkeypatch.chdir(tmp_path)
    write_text()
    command = ["run", str(tiny(RECIPE)), "--device", "cpu", "--folder", "run"]
    done(*command, "training.steps=2")
    result = forked.run(*command, "training.steps=4", "--devices", "2")
    assert result.returncode == 0, result.stderr
    done(*command)
    for step, ranks in enumerate([1, 1, 2, 2, 1, 1], 1):
        found = replayed(step, "--exact")
        assert found["ranks"] == ranks
        assert {each["rank"] for each in found["examples"]} == {*range(1, ranks + 1)}
        assert computed_loss(found) == pytest.approx(recorded_loss(step), rel=1e-5)
    for step in (2, 4):
        shutil.rmtree(f"run/checkpoints/0000000{step}")
    found = replayed(6, "--exact")
    assert found["weights"] == {"source": None, "step": 0, "repeated": 5, "exact": True}
    assert computed_loss(found) == pytest.approx(recorded_loss(6), rel=1e-4)


@pytest.mark.slow
def test_replay_draws_the_dropout_of_each_rank_with_sharded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In update 1 the ranks have six and five microbatches; with FSDP, the second one computes a dummy."""
    monkeypatch.chdir(tmp_path)
    write_text()
    settings = ("training.parallel=fsdp", "training.microbatch=30", "training.steps=2")
    command = ["run", str(tiny(RECIPE)), "--device", "cpu", "--folder", "run", *settings]
    result = forked.run(*command, "--devices", "2")
    assert result.returncode == 0, result.stderr
    found = replayed(2, "--exact")
    assert found["weights"] == {"source": None, "step": 0, "repeated": 1, "exact": True}
    assert computed_loss(found) == pytest.approx(recorded_loss(2), rel=1e-5)


def test_replay_computes_losses_with_the_threads_of_the_start_that_made_the_update(
    batches: list[list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start with other threads begins with update 4, so that all repeated updates are of another one."""
    environment = Path("run/environment.json")
    starts = [
        {"step": step, "rollbacks": 0, "processes": 1, "threads": threads}
        for step, threads in ((0, 1), (3, 2))
    ]
    content = json.loads(environment.read_text(encoding="utf-8"))
    environment.write_text(json.dumps({**content, "starts": starts}), encoding="utf-8")
    used = dict[str, int]()

    def losses(*arguments: Any, **options: Any) -> Any:
        used["losses"] = torch.get_num_threads()
        return example_losses(*arguments, **options)

    monkeypatch.setattr(replay, "example_losses", losses)
    before = torch.get_num_threads()
    try:
        found = replayed(4, "--exact")
        used["update"] = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert found["weights"]["repeated"] == 1
    assert used == {"losses": 2, "update": 2}


def test_replay_does_not_need_the_vectors_of_embeddings_that_a_checkpoint_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text()
    vectors = Path("v.vec")
    numbers = " ".join(["0.5"] * 32)
    vectors.write_text(f"the {numbers}\nhouse {numbers}\n", encoding="utf-8")
    done(
        "run",
        tiny(RECIPE),
        f"training.embeddings={{target: {vectors}}}",
        "training.steps=4",
        "--folder",
        "run",
    )
    kept = vectors.rename("kept.vec")
    found = replayed(3)
    assert found["weights"]["source"] == "run/checkpoints/00000002"
    assert computed_loss(found) == recorded_loss(3)
    assert "v.vec" in refused("replay", "run", "1")
    kept.rename(vectors)
    weights = Path("run/checkpoints/00000002/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    found = replayed(3, "--exact")  # the initial weights, with the vectors
    assert found["weights"] == {"source": None, "step": 0, "repeated": 2, "exact": True}
    assert computed_loss(found) == recorded_loss(3)


def test_replay_computes_the_microbatches_of_all_ranks(batches: list[list[list[int]]]) -> None:
    """The run is one of an earlier version, which recorded only the last start."""
    environment = Path("run/environment.json")
    content = json.loads(environment.read_text(encoding="utf-8"))
    del content["starts"]
    environment.write_text(json.dumps({**content, "processes": 2}), encoding="utf-8")
    found = replayed(3)
    ranks = [{each["example"] for each in found["examples"] if each["rank"] == rank} for rank in (1, 2)]
    assert len(ranks[0]) - len(ranks[1]) in (0, 1)
    assert ranks[0] | ranks[1] == {i for part in batches[2] for i in part}
    assert found["computed"]["loss"] == pytest.approx(recorded_loss(3)[0], rel=0.05)  # other dropout
    assert "rank 2, microbatch 1" in done("replay", "run", "3", "--top", "0", "--no-losses")


@pytest.mark.parametrize(
    "setting",
    [
        ("task.sample_segmentation=true", "training.ema={decay: 0.9}"),
        ("training.packing=true",),
    ],
)
def test_replay_equals_runs_with_other_batches(
    setting: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text()
    done("run", tiny(RECIPE), *setting, "training.steps=3", "--folder", "run")
    found = replayed(3)
    assert found["weights"]["exact"]
    assert computed_loss(found) == recorded_loss(3)
    assert sum(example["target_tokens"] for example in found["examples"]) == found["target_tokens"]
    assert all(example["target_tokens"] == len(example["tokens"]["target"]) for example in found["examples"])


@pytest.mark.parametrize("task", ["language_model", "sentiment", "parsing"])
def test_replay_equals_runs_of_other_tasks(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["training.steps=1", "callbacks=[{type: metrics, every: 1}]", "--folder", "run"]
    if task == "parsing":
        text = TINY.partition("training:")[2]
        done("run", tiny(f"{PARSING}training:{text}"), *settings)
    else:
        side = "decoder" if task == "language_model" else "encoder"
        small = [*SMALL, *(f"model.{side}.{each}" for each in STACK), "training.tokens=200"]
        done("run", RECIPES / f"{task}.yaml", "--profile", "sample", *small, *settings)
    found = replayed(1)
    assert computed_loss(found) == recorded_loss(1)
    assert all(example["text"]["target"] for example in found["examples"])
    assert all(example["location"] for example in found["examples"])


@pytest.mark.promise("replay-refuses-changes")
def test_replay_refuses_changed_text(batches: list[list[list[int]]]) -> None:
    file = Path("train.de")
    file.write_text(file.read_text(encoding="utf-8").replace("now", "soon", 1), encoding="utf-8")
    assert refused("replay", "run", "3").startswith(
        "run/data.json: the text of train has changed since this run began"
    )


@pytest.mark.promise("replay-refuses-changes")
def test_replay_refuses_changed_and_untrusted_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text()
    Path("mine.py").write_text(STOPPER, encoding="utf-8")
    recipe = tiny(f"plugins: [mine.py]\n{RECIPE}")
    done("run", recipe, "callbacks+=stopper", "training.steps=1", "--folder", "run")
    assert "--trust-local-plugins" in refused("replay", "run", "1")
    assert "recorded by the run" in done("replay", "run", "1", "--trust-local-plugins")
    with Path("run/plugins/mine.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    message = refused("replay", "run", "1", "--trust-local-plugins")
    assert "run/plugins/mine.py has changed since it was recorded" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "0"), "Invalid value for 'STEP': 0 is not in the range x>=1."),
        (("run", "x"), "Invalid value for 'STEP': 'x' is not a valid integer range."),
        (("run", "7"), "run: has no update 7, because training.steps is 6; name a smaller one"),
        (("run/model", "3"), "run/model: is the folder of a model; name the folder of its run"),
        (("nowhere", "3"), "nowhere: is not the folder of a run; name one"),
        (("run", "3", "--exact", "--no-losses"), "leave out --exact or --no-losses"),
    ],
)
def test_replay_refuses_wrong_arguments(
    arguments: tuple[str, ...], message: str, batches: list[list[list[int]]]
) -> None:
    assert message in refused("replay", *arguments)


@pytest.mark.parametrize(
    ("bad", "note"),
    [
        (1.0, "the gradient of no sentence is finite: the weights or the learning rate"),
        (0.5, " are not finite"),
    ],
)
def test_replay_says_how_many_gradients_are_not_finite(
    batches: list[list[list[int]]], monkeypatch: pytest.MonkeyPatch, bad: float, note: str
) -> None:
    calls = itertools.count()

    def norm(*_: Any, **__: Any) -> tuple[dict[str, float], float]:
        return {"loss": 1.0}, math.nan if next(calls) % 2 < 2 * bad else 1.0

    monkeypatch.setattr("seqx.commands.replayed_update.sums_and_gradient_norm", norm)
    printed = done("replay", "run", "1", "--top", "1")
    assert note in printed
    assert ("of no sentence" in printed) == (bad == 1)


def test_weights_of_the_same_step_from_another_source_are_named() -> None:
    replayed: Any = SimpleNamespace(batch=SimpleNamespace(step=5), to_repeat=1, seconds=None)
    weights: Any = SimpleNamespace(source=Path("run/model"), repeated=0, exact=False, step=4)
    assert replay_text._weights_text(replayed, weights) == (
        "run/model, from before or after a rollback, or a mean of checkpoints: loss and gradients are not "
        "those of the run (--exact makes 1 update again)"
    )
