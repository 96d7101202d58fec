"""The callback `metrics`: its lines, each step once."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx_runs.run_curves import learning_charts
from seqx_watch import Metrics
from tests.plugins.watch.simulation import Simulation, evaluation_with, run, update


def parse_strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def read(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [parse_strictly(line) for line in text.splitlines()]


def test_metrics_of_a_run_from_start_to_end(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path, steps=25), Metrics(every=10))
    simulation.start()
    simulation.update(1, 20)
    simulation.evaluate(20, 20.0)
    simulation.save(20)
    simulation.update(21, 25)
    simulation.finish()
    start, first, second, scored, saved, last, finished = read(tmp_path)
    assert list(start) == [
        *("kind", "step", "run", "steps", "parameters", "device", "precision", "examples", "dropped", "leaks")
    ]
    assert (start["kind"], start["step"], start["dropped"]) == ("start", 0, {"duplicate": 12, "empty": 1})
    assert first == {
        "kind": "update",
        "step": 10,
        "updates": 10,
        "loss": pytest.approx(4.945),
        "nll": pytest.approx(3.945),
        "others": {},
        "learning_rate": pytest.approx(1e-4),
        "norm": 1.5,
        "tokens": 10_000,
        "padding": pytest.approx(0.05),
        "seconds": 5.0,
        "skipped": 0,
        "perplexity": pytest.approx(math.exp(3.945)),
        "tokens_per_second": 2000.0,
        "memory": first["memory"],
    }
    assert first["memory"] > 1 << 20
    assert (second["step"], last["step"], last["updates"]) == (20, 25, 5)
    assert scored == {
        "kind": "evaluation",
        "step": 20,
        "split": "dev",
        "scores": {
            "bleu": {"value": 20.0, "signature": "nrefs:1|case:mixed"},
            "chrf": {"value": 40.0, "signature": "nrefs:1"},
        },
        "perplexity": 7.25,
        "is_final": False,
    }
    assert saved == {"kind": "saved", "step": 20, "path": "checkpoints/00000020"}
    assert finished["scores"]["test"]["bleu"] == {"value": 20.5, "signature": "nrefs:1|case:mixed"}


def test_metrics_file_reads_what_the_callback_wrote(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path, steps=25), Metrics(every=10))
    simulation.start()
    simulation.update(1, 20)
    simulation.evaluate(10, 10.0)
    simulation.evaluate(20, 20.0)
    recorded = seqx.MetricsFile(tmp_path).read()
    assert [line["step"] for line in recorded.updates] == [10, 20]
    assert [line["loss"] for line in recorded.updates] == pytest.approx([4.945, 4.845])
    assert [(e.step, e.scores["bleu"].value) for e in recorded.evaluations] == [(10, 10.0), (20, 20.0)]
    assert recorded.last_evaluations["dev"].step == recorded.step == 20
    assert (recorded.start["parameters"], recorded.tokens_per_second) == (61_362_176, 2000.0)
    assert recorded.failed is None


def test_metrics_file_reads_each_field_of_a_score(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path), Metrics(every=10))
    simulation.start()
    score = seqx.Score(
        value=20.0,
        signature="valid:3|case:mixed",
        results=["valid"],
        lower_is_better=True,
        is_detail=True,
        note="without 1 of 4 sentences",
    )
    simulation.evaluate(10, evaluation=seqx.Evaluation(scores={"f1": score}))
    (evaluation,) = seqx.MetricsFile(tmp_path).read().evaluations
    assert evaluation.scores == {"f1": score}


def test_evaluation_of_the_final_model_is_no_validation(tmp_path: Path) -> None:
    """The callback `metrics` may be added to a run whose updates are made already."""
    simulation = Simulation(run(tmp_path), Metrics(every=10))
    simulation.start()
    for step in (10, 20):
        simulation.evaluate(step, float(step))
    simulation.evaluate(20, 25.0, is_final=True)
    simulation.evaluate(20, 24.0, "test", is_final=True)
    simulation.evaluate(30, 26.0, is_final=True)
    recorded = seqx.MetricsFile(tmp_path).read()
    (scores,) = (chart for chart in learning_charts(recorded) if chart.title.startswith("Scores"))
    assert scores.series[0].points == [(10, 10), (20, 20)]
    assert [each.is_final for each in recorded.evaluations] == [False, False, True, True, True]
    assert [(each.step, each.scores["bleu"].value) for each in recorded.validations] == [(10, 10), (20, 20)]


def test_evaluations_of_an_earlier_version_do_not_say_which_model_was_scored(tmp_path: Path) -> None:
    scores = {"bleu": {"value": 20.0, "signature": ""}}
    line = {"kind": "evaluation", "step": 20, "split": "dev", "scores": scores, "perplexity": 7.25}
    rows = [line, line | {"perplexity": 7.5}, line | {"split": "test"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    recorded = seqx.MetricsFile(tmp_path).read()
    assert [each.is_final for each in recorded.evaluations] == [None, None, None]
    assert [each.perplexity for each in recorded.validations] == [7.25]


def test_metrics_can_be_read_during_the_run(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path), Metrics(every=1))
    simulation.start()
    for step in (1, 2):
        simulation.update(step, step)
        assert read(tmp_path)[-1]["step"] == step


def test_metrics_write_non_finite_numbers_as_strings(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path), Metrics(every=1))
    simulation.start()
    skipped = update(1, loss=math.nan, nll=math.nan, norm=math.inf, skipped=True)
    simulation.events.updated(run=simulation.run, update=skipped)
    line = read(tmp_path)[-1]
    assert (line["loss"], line["norm"], line["skipped"]) == ("NaN", "Infinity", 1)
    assert math.isnan(float(line["perplexity"]))
    diverged = replace(evaluation_with(20.0), perplexity=math.inf)
    simulation.evaluate(1, evaluation=diverged)
    assert read(tmp_path)[-1]["perplexity"] == "Infinity"
    recorded = seqx.MetricsFile(tmp_path).read().last_evaluations["dev"]
    assert (recorded.perplexity, recorded.scores["bleu"].value) == (math.inf, 20.0)


def simulate_killed_run(folder: Path, end: bytes) -> list[dict[str, Any]]:
    """Simulate a run that saved at step 20 and was killed after step 35; return the lines up to step 20."""
    simulation = Simulation(run(folder), Metrics(every=10))
    simulation.start()
    simulation.update(1, 20)
    simulation.evaluate(20, 20.0)
    simulation.save(20)
    kept = read(folder)
    simulation.update(21, 35)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(end)
    return kept


@pytest.mark.parametrize("end", [b"", b'{"kind": "update", "st', b'{"kind": "upd\xe2\x82', b"\0\0\0"])
def test_metrics_of_a_resumed_run_have_each_step_once(tmp_path: Path, end: bytes) -> None:
    kept = simulate_killed_run(tmp_path, end)
    simulation = Simulation(run(tmp_path, done=20), Metrics(every=10))
    simulation.start()
    lines = read(tmp_path)
    assert lines[:-1] == kept
    assert (lines[-1]["kind"], lines[-1]["step"]) == ("start", 20)
    simulation.update(21, 40)
    steps = [line["step"] for line in read(tmp_path) if line["kind"] == "update"]
    assert steps == [10, 20, 30, 40]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_metrics_after_the_last_checkpoint_are_removed_when_the_run_resumes(tmp_path: Path) -> None:
    """The run is interrupted while its final model is scored, which is repeated."""
    simulation = Simulation(run(tmp_path, steps=10), Metrics(every=10))
    simulation.start()
    simulation.update(1, 10)
    simulation.evaluate(10, 20.0)
    simulation.save(10)
    simulation.evaluate(10, 21.0)
    simulation.fail(KeyboardInterrupt())
    again = Simulation(run(tmp_path, steps=10, done=10), Metrics(every=10))
    again.start()
    again.evaluate(10, 21.0)
    assert [line["kind"] for line in read(tmp_path)] == [
        *("start", "update", "evaluation", "saved", "start", "evaluation")
    ]


def test_metrics_without_a_checkpoint_start_again(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path), Metrics(every=10))
    simulation.start()
    simulation.update(1, 15)
    Simulation(run(tmp_path), Metrics(every=10)).start()
    assert {line["kind"] for line in read(tmp_path)} == {"start"}


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "7",
        '{"step": 4}',
        '{"kind": []}',
        '{"kind": "saved", "step": [4]}',
        '{"kind": "update", "step": "x"}',
        '{"kind": "update", "step": -1}',
        '{"kind": "update", "step": NaN}',
        '{"kind": "update", "step": ' + "9" * 400 + "}",
        '{"kind": "update", "step": 1e400}',
        '{"kind": "noticed", "what": "' + "x" * (1 << 24) + '"}',
    ],
    ids=lambda line: line[:30],
)
def test_malformed_metrics_line_is_one_message(tmp_path: Path, line: str) -> None:
    """A resumed run refuses it; readers leave it out."""
    simulate_killed_run(tmp_path, b"")
    file = tmp_path / "metrics.jsonl"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text.partition(chr(10))[0]}\n{line}\n{text}", encoding="utf-8")
    with pytest.raises(seqx.UserError, match=r"metrics\.jsonl:2: cannot be read \(.*\); \w+") as caught:
        Simulation(run(tmp_path, done=20), Metrics(every=10)).start()
    recorded = seqx.MetricsFile(tmp_path).read()
    assert recorded.problem is not None
    assert recorded.problem.partition(";")[0] == str(caught.value).partition(";")[0]
    assert recorded.problem.endswith("; 1 damaged line is left out")
    assert [each["step"] for each in recorded.updates] == [10, 20, 30]


@pytest.mark.parametrize("line", [b"[" * 200_000, b"\xff\xfe", b"9" * 5000, b'{"kind": "upd', b""])
def test_metrics_skip_a_line_that_is_not_json(tmp_path: Path, line: bytes) -> None:
    kept = simulate_killed_run(tmp_path, b"")
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(line + b"\n" + file.read_bytes())
    Simulation(run(tmp_path, done=20), Metrics(every=10)).start()
    assert read(tmp_path)[:-1] == kept


def test_metrics_record_a_failure(tmp_path: Path) -> None:
    simulation = Simulation(run(tmp_path), Metrics())
    simulation.fail(ValueError("before the start"))
    simulation.start()
    simulation.fail(seqx.UserError("no\nroom"))
    assert read(tmp_path)[-1] == {"kind": "failed", "error": "UserError", "message": "no\nroom"}


def test_metrics_name_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(seqx.UserError, match=r"metrics\.jsonl: cannot be"):
        Simulation(run(tmp_path), Metrics()).start()


def test_missing_record_of_a_checkpoint_is_written_when_the_run_resumes(tmp_path: Path) -> None:
    """The run was killed after it had saved the checkpoint and before it recorded it."""
    kept = simulate_killed_run(tmp_path, b"")
    assert kept.pop()["kind"] == "saved"
    text = "".join(f"{json.dumps(line)}\n" for line in kept)
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    resumed = replace(run(tmp_path, done=20), resumed=tmp_path / "checkpoints" / "00000020")
    Simulation(resumed, Metrics(every=10)).start()
    lines = read(tmp_path)
    assert lines[:-2] == kept
    assert lines[-2] == {"kind": "saved", "step": 20, "path": "checkpoints/00000020"}
    assert lines[-1]["kind"] == "start"


@pytest.mark.parametrize("validated", [False, True])
def test_metrics_of_a_run_stopped_during_validation(tmp_path: Path, validated: bool) -> None:
    """The validation is recorded once, also if the run is stopped between it and the checkpoint."""
    simulation = Simulation(run(tmp_path), Metrics(every=10))
    simulation.start()
    simulation.update(1, 20)
    kept = read(tmp_path)
    if validated:
        simulation.evaluate(20, 20.0)
    simulation.fail(KeyboardInterrupt())
    Simulation(replace(run(tmp_path, done=20), pending=True), Metrics(every=10)).start()
    lines = read(tmp_path)
    assert lines[:-1] == kept
    assert lines[-1]["kind"] == "start"


def test_metrics_after_an_early_failure_are_kept_when_a_validation_is_repeated(tmp_path: Path) -> None:
    first = Simulation(run(tmp_path), Metrics(every=10))
    first.start()
    first.fail(KeyboardInterrupt())  # there is no checkpoint yet
    second = Simulation(run(tmp_path), Metrics(every=10))
    second.start()
    second.update(1, 20)
    second.fail(KeyboardInterrupt())  # during the validation
    Simulation(replace(run(tmp_path, done=20), pending=True), Metrics(every=10)).start()
    assert [line["kind"] for line in read(tmp_path)] == ["start", "start", "update", "update", "start"]


def test_metrics_lines_are_the_same_after_an_interruption(tmp_path: Path) -> None:
    """A line has the means over the same updates with and without an interruption."""
    for name in ("uninterrupted", "resumed"):
        (tmp_path / name).mkdir()
    callback = Metrics(every=10)
    simulation = Simulation(run(tmp_path / "uninterrupted"), callback)
    simulation.start()
    simulation.update(1, 14)
    state = callback.state_dict()
    simulation.update(15, 20)
    expected = read(tmp_path / "uninterrupted")[-1]
    other = Metrics(every=10)
    other.load_state_dict(state)
    simulation = Simulation(run(tmp_path / "resumed", done=14), other)
    simulation.start()
    simulation.update(15, 20)
    resumed = read(tmp_path / "resumed")[-1]
    assert {**resumed, "memory": 0} == {**expected, "memory": 0}  # that of this process may have grown
    assert expected["updates"] == 10
