"""`seqx plan`: numbers that can be computed by hand, proposals that `seqx check` accepts, wrong inputs."""

import gc
import json
import math
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import seqx
from seqx.runtime import cpu_threads
from seqx_plan import devices, proposals, workload
from seqx_plan.probe import CACHED_KERNELS, MemorySample, extrapolated
from seqx_plan.proposals import seconds_of
from seqx_plan.tracing import Recorder, Trace, trace
from tests.models import PARSING
from tests.stories.tiny import TINY, done, refused, tiny

TRAINING = TINY[TINY.index("training:") :]


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plan"))
        patch.setattr(workload, "ASSUMED_EXAMPLES", 500)
        patch.setitem(
            devices.GPUS, "toy", devices.Gpu(memory=0.67, bandwidth=1, bf16=1e-5, fp32=1e-5, watts=5)
        )
        tiny()
        yield


@pytest.fixture(scope="module")
def adaptations() -> list[str]:
    """Return a list to which `planned` adds an entry when it adapts to other programs."""
    return []


@pytest.fixture(scope="module")
def planned(adaptations: list[str]) -> dict[str, Any]:
    """Return the plan of the tiny recipe on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_threads, "adapt_to_contention", lambda: adaptations.append("adapt"))
        return plan("tiny.yaml", "--seconds=0")


@pytest.fixture(scope="module")
def trace_once() -> Callable[..., Trace]:
    """Return a function that computes one trace, and returns it in each call."""
    traces: list[Trace] = []

    def first_trace(*arguments: Any, **options: Any) -> Trace:
        if not traces:
            traces.append(trace(*arguments, **options))
        return traces[0]

    return first_trace


@pytest.fixture
def _same_trace(trace_once: Callable[..., Trace], monkeypatch: pytest.MonkeyPatch) -> None:
    """Omit most traces in tests of parts of a plan that hardly depend on them."""
    monkeypatch.setattr("seqx_plan.planner.trace", trace_once)


def plan(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done("plan", "--json", *arguments))
    return found


def test_plan_counts_the_parameters_that_check_counts(planned: dict[str, Any]) -> None:
    total = planned["parameters"].pop("total")
    assert f"{total:,} parameters" in done("check", "tiny.yaml")
    assert sum(planned["parameters"].values()) == total


def test_plan_of_weights_gradients_and_adam_is_exact(planned: dict[str, Any]) -> None:
    parameters = sum(planned["parameters"].values()) // (2 if "total" in planned["parameters"] else 1)
    memory = planned["memory"]
    assert memory["gradients"] == 4 * parameters
    assert 4 * parameters <= memory["weights"] < 4.2 * parameters  # and buffers
    assert 8 * parameters < memory["optimizer"] < 8.1 * parameters  # and the number of steps of each tensor


def test_plan_of_activations_and_operations_has_the_size_of_the_model(planned: dict[str, Any]) -> None:
    tokens, width = planned["microbatch"], 32
    assert 10 * tokens * width * 4 < planned["memory"]["activations"] < 300 * tokens * width * 4
    per_token = planned["flops_per_update"] / planned["workload"]["padded_tokens"]
    assert 1e5 < per_token < 1e6  # 6 operations for each of the 35,000 parameters, half of them for each side


def test_plan_measures_speed_and_adds_up_time(planned: dict[str, Any]) -> None:
    assert planned["speed"]["source"].startswith("probe: ")
    duration = planned["duration"]
    assert duration["evaluations"] == 3  # two validations, and the finished model
    parts = duration["updates"] + duration["validations"] + duration["checkpoints"]
    assert duration["total"] == pytest.approx(parts)
    assert planned["tokens_per_second"] * duration["updates"] == pytest.approx(
        6 * planned["workload"]["target_tokens"]
    )


def test_plan_of_a_gpu_follows_its_published_rate() -> None:
    slow = plan("tiny.yaml", "--assume=20", "training.packing=false", "--gpu=toy")
    assert slow["workload"]["source"].startswith("assumed (--assume): examples of 20 tokens")
    assert slow["speed"]["source"].startswith("table of devices: toy")
    rate = slow["flops_per_update"] / slow["workload"]["padded_tokens"] / slow["speed"]["token_seconds"]
    assert rate == pytest.approx(devices.UTILISATION * 1e7)


def test_plan_proposes_microbatches_that_fit_and_that_check_accepts() -> None:
    arguments = ("tiny.yaml", "--assume=20", "training.tokens=6000", "training.packing=false")
    result = plan(*arguments, "--gpu=toy")
    assert not result["memory"]["fits"]
    (proposal,) = result["proposals"]
    assert proposal["plan"]["memory"]["total"] <= 0.67e9
    command = shlex.split(proposal["command"])
    assert any(part.startswith("training.microbatch=") for part in command)
    done("check", *command[2:])


def test_gradients_of_earlier_microbatches_need_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[Trace] = []

    def trace_both(*arguments: Any, **_: Any) -> Trace:
        traces.extend(trace(*arguments, accumulates=accumulates) for accumulates in (False, True))
        return traces[-1]

    monkeypatch.setattr("seqx_plan.planner.trace", trace_both)
    plan("tiny.yaml", "--gpu=h100", "--assume=20")
    first, later = traces
    assert first.gradients == later.gradients
    assert later.activations - first.activations == pytest.approx(later.gradients, rel=0.5)


def test_plan_with_a_budget_proposes_a_shorter_run_that_check_accepts() -> None:
    result = plan("tiny.yaml", "training.steps=1000000", "--seconds=0", "--budget=60s")
    (proposal,) = result["proposals"]
    assert 20 < proposal["plan"]["duration"]["total"] <= 60
    steps = proposal["plan"]["steps"]
    assert f"training.schedule.warmup={max(1, round(4 * steps / 1e6))}" in proposal["command"]
    done("check", *shlex.split(proposal["command"])[2:])


@pytest.mark.usefixtures("_same_trace")
def test_checkpoints_take_at_most_a_tenth_of_a_budget(
    planned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk on which a checkpoint takes a second, and a recipe that saves after every update."""
    monkeypatch.setattr("seqx_plan.costs.WRITE_RATE", planned["disk"]["checkpoint"])
    often = ("training.steps=1000000", "training.save_every=1")
    result = plan("tiny.yaml", "--gpu=h100", "--assume=20", *often, "--budget=60s")
    (proposal,) = result["proposals"]
    assert proposal["plan"]["duration"]["checkpoints"] <= 6
    assert 30 < proposal["plan"]["duration"]["total"] <= 60


def test_budget_that_is_too_short_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr(proposals, "MIN_UPDATES", 100_000)
    message = refused("plan", "tiny.yaml", "--seconds=0", "--budget=1s", "training.steps=1000000")
    assert "--budget: 0:00:01 is too short; the shortest proposal takes " in message
    assert "of the recipe's model and batches on this CPU, while other programs used it (load 99.0" in message


@pytest.mark.usefixtures("planned")
def test_plan_adapts_to_other_programs_like_a_run(adaptations: list[str]) -> None:
    assert adaptations


@pytest.mark.usefixtures("_same_trace")
def test_plan_says_that_a_recipe_fits_its_budget() -> None:
    printed = done("plan", "tiny.yaml", "--assume=20", "--gpu=h100", "--budget=1d")
    assert "budget: 1 day, 0:00:00; the recipe fits as it is" in printed


@pytest.mark.usefixtures("_same_trace")
@pytest.mark.parametrize(
    ("splits", "scored"),
    [
        (["dev", "test"], "3 scores of the development set and one of the test set "),
        (["dev"], "3 scores of the development set "),
        (["test"], "one score of the test set "),
        ([], "checkpoints "),
    ],
)
def test_plan_names_only_the_held_out_sets_of_the_task(splits: list[str], scored: str) -> None:
    sides = [Path(name) for name in ("text.en", "text.de")]
    for side in sides:
        side.write_text("Some text.\n" * 20, encoding="utf-8")
    corpus = json.dumps({"type": "files", **{split: [*map(str, sides)] for split in ("train", *splits)}})
    printed = done("plan", "tiny.yaml", "--gpu=h100", "--assume=20", f"task.corpus={corpus}")
    (time,) = re.findall(r"^time: .*: updates [^ ,]+, (.*)", printed, re.MULTILINE)
    assert re.match(rf"{scored}\d", time)


@pytest.mark.usefixtures("_same_trace")
def test_plan_assumes_lengths_if_the_text_must_be_downloaded() -> None:
    result = plan("tiny.yaml", "task.corpus={type: wmt14}", "task.max_length=64", "--gpu=l4")
    assert result["workload"]["source"].startswith(
        "assumed (the text is not on this machine): examples of 28"
    )
    assert result["workload"]["examples"] is None
    assert result["disk"]["prepared data"] is None


def test_plan_of_a_parser_computes_counts_from_the_batch() -> None:
    tiny(
        PARSING
        + TRAINING.replace("{type: cross_entropy, smoothing: 0.1}", "{type: tagged, inner: cross_entropy}"),
        "parser.yaml",
    )
    assert plan("parser.yaml", "--gpu=h100")["flops_per_update"] > 0


@pytest.mark.usefixtures("_same_trace")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny.yaml", "--gpu=h99"), "--gpu h99: there is no such GPU in the table; use a10, "),
        (("tiny.yaml", "--budget=soon"), "--budget soon: not a duration; write a number with s, m, h or d"),
        (("tiny.yaml", "training.stepz=3"), "training.stepz"),
        (("none.yaml",), "none.yaml"),
        (("tiny.yaml", "--assume=900"), "--assume 900: the task's max_length is 24"),
        (("tiny.yaml", "training.precision=bf16", "--gpu=t4"), "the GPU t4 does not have"),
        (
            ("tiny.yaml", "--gpu=toy", "--assume=20", "--budget=1s"),
            "--budget: 0:00:01 is too short; the shortest proposal takes ",
        ),
    ],
)
def test_plan_refuses_wrong_inputs_with_one_message(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("plan", *arguments)


def test_budgets_are_read_with_units() -> None:
    assert [seconds_of(text) for text in ("30m", "1h30m", "2 d", "1.5h")] == [1800, 5400, 172_800, 5400]
    for text in ("", "30", "m", "1h x"):
        with pytest.raises(seqx.UserError, match="not a duration"):
            seconds_of(text)


def test_recorder_counts_live_tensors_and_operations() -> None:
    gc.collect()
    with Recorder() as recorder:
        a = torch.zeros(8, 16)
        b = a @ torch.zeros(16, 4)
        del a
        torch.zeros(8)
    assert recorder.flops == 2 * 8 * 16 * 4
    assert recorder.peak == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    assert b.shape == (8, 4)


def samples(
    allocated: Callable[[int], float], fragments: Callable[[int], float], count: int
) -> list[MemorySample]:
    """Return the memory after passes with 1, 2, ... shapes."""
    return [
        MemorySample(shapes=n, growth=round(allocated(n) + fragments(n)), allocated=round(allocated(n)))
        for n in range(1, count + 1)
    ]


def test_memory_that_no_longer_grows_is_not_extrapolated() -> None:
    assert extrapolated(samples(lambda _: 100, lambda _: 50, 20), 100_000, 20) == 150
    assert extrapolated(samples(lambda _: 100, lambda n: 50 * n, 20), 20, 20) == 1100  # no other shape


def test_memory_of_kernels_grows_until_their_cache_is_full() -> None:
    measured = samples(lambda n: 1000 * n, lambda _: 0, 16)
    assert extrapolated(measured, 40, 16) == 40_000
    assert extrapolated(measured, 100_000, 16) == 1000 * CACHED_KERNELS / 16
    assert extrapolated(measured, 100_000, CACHED_KERNELS) == 16_000  # the cache was full before


def test_fragments_of_memory_grow_with_the_logarithm_of_the_number_of_shapes() -> None:
    measured = samples(lambda _: 100, lambda n: 1000 * math.log2(n), 16)
    assert extrapolated(measured, 64, CACHED_KERNELS / 16) == 100 + 6000
    assert extrapolated(measured, 2**20, CACHED_KERNELS / 16) == 100 + 20_000


def test_fragments_grow_in_proportion_until_the_cache_of_kernels_is_full() -> None:
    measured = samples(lambda _: 100, lambda n: 50 * n, 16)
    assert extrapolated(measured, 32, CACHED_KERNELS / 32) == 100 + 50 * 32
    assert extrapolated(measured, 128, CACHED_KERNELS / 32) == 100 + 50 * 32 + 2 * 50 * 16


def test_shapes_of_all_updates_of_a_run_are_counted() -> None:
    plans = [[(2, 3), (4, 5)], [(2, 3), (6, 7)]]  # two epochs, alternating

    def update_batch(plan: list[tuple[int, int]], position: Any) -> Any:
        layout = seqx.Layout.of(torch.ones(plan[position.index], dtype=torch.bool))
        columns = {"target": SimpleNamespace(layout=layout)}
        return SimpleNamespace(microbatches=[SimpleNamespace(batch=SimpleNamespace(columns=columns))])

    batches = SimpleNamespace(plan=lambda epoch: plans[epoch % 2], update_batch=update_batch)
    assert [workload.count_shapes(batches, updates) for updates in (1, 2, 3, 4, 9)] == [1, 2, 2, 3, 3]
