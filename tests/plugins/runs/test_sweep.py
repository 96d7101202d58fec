"""`seqx sweep`: trials, resume, the table, successive halving, and files for schedulers."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml

import seqx
from seqx_runs import sweep_check, sweep_runner
from seqx_runs.sweep_check import checked_recipes
from seqx_runs.sweep_file import read_sweep
from seqx_runs.sweep_runner import stopped_so_far
from seqx_runs.sweep_state import TrialState
from seqx_runs.sweep_table import Results, welch_p_value
from seqx_runs.sweep_time import RemainingTime
from seqx_runs.sweep_trials import Configuration, Sweep, Trial
from tests import forked
from tests.plugins.runs.test_compare import table
from tests.stories.tiny import STOPPER, TINY, done, lines, refused, tiny
from tests.stories.tiny import seqx as run_seqx

SWEEP = """\
recipe: tiny.yaml
settings:
  training.steps: 2
  model.d_model: [16, 32]
seeds: 2
"""
HALVING = "recipe: tiny.yaml\nsettings: {model.d_model: [8, 16, 32, 64]}\nhalving: {steps: 3}\n"
SAMPLE = """\
recipe: tiny.yaml
sample: 3
settings:
  a: {log_uniform: [1e-4, 1e-2]}
  b: [1, 2]
  c: {uniform: [2, 9]}
"""


def write_sweep(text: str = SWEEP) -> Path:
    file = Path("sweep.yaml")
    file.write_text(text, encoding="utf-8")
    return file


def trial_folders() -> list[Path]:
    return sorted(path for path in Path("runs/sweep/trials").iterdir())


@pytest.fixture(scope="module")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run a sweep with four trials; return its folder and the table."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(subprocess, "Popen", forked.ForkedIfSeqx)
        tiny()
        return folder, done("sweep", write_sweep(), "--jobs", "2")


@pytest.fixture
def in_finished_sweep(finished_sweep: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(finished_sweep[0])
    monkeypatch.setattr(sweep_runner, "start", lambda *_: pytest.fail("a trial was started"))
    write_sweep()
    return finished_sweep[1]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny()


KILLED = """\
import subprocess, sys, time
from seqx_runs.sweep_runner import end_with_parent
child = subprocess.Popen(["sleep", "60"], preexec_fn=end_with_parent)
print(child.pid, flush=True)
time.sleep(60)
"""


class Process:
    """A trial that does not train: it ends with `code` at once, or, without a code, when it is stopped."""

    def __init__(self, code: int | None = 0) -> None:
        self.returncode, self.terminated, self.pid = code, 0, os.getpid()

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.terminated += 1
        self.returncode = os.EX_TEMPFAIL

    def wait(self) -> int | None:
        return self.returncode


def test_sweep_prints_mean_and_deviation_over_seeds(in_finished_sweep: str) -> None:
    rows = table(in_finished_sweep)
    assert [(row["d_model"], row["seeds"]) for row in rows] == [("16", "2"), ("32", "2")]
    for row in rows:
        scores = [
            json.loads((folder / "model/scores.json").read_text())["test"]["chrf"]["value"]
            for folder in trial_folders()
            if folder.name.startswith(f"d_model={row['d_model']}-")
        ]
        assert row["test chrf"] == f"{fmean(scores):.2f} ± {stdev(scores):.2f}"
    assert rows[0]["p (test bleu)"] == "-"
    assert "\np: Welch's two-sided t-test over seeds against d_model=16, not corrected" in in_finished_sweep
    seeds = {seqx.read_yaml(folder / "recipe.yaml")["training"]["seed"] for folder in trial_folders()}
    assert seeds == {1, 2}


@pytest.mark.promise("sweep-is-resumed")
def test_finished_trials_are_not_repeated(in_finished_sweep: str) -> None:
    assert done("sweep", "sweep.yaml") == done("sweep", "sweep.yaml", "--show") == in_finished_sweep


def test_trials_do_not_depend_on_the_way_in_which_the_file_is_named(in_finished_sweep: str) -> None:
    shown = done("sweep", Path("sweep.yaml").absolute(), "--folder", Path("runs/sweep").absolute(), "--show")
    assert shown == in_finished_sweep


@pytest.mark.promise("sweep-is-resumed")
def test_edited_sweep_keeps_matching_trials(in_finished_sweep: str) -> None:
    write_sweep("settings: {training.steps: 2, model.d_model: 32}\nrecipe: tiny.yaml\nseeds: [2]\n")
    (row,) = table(done("sweep", "sweep.yaml"))
    assert row["seeds"] == "1"
    write_sweep(SWEEP.replace("[16, 32]", "[16, 32, 48]"))
    printed = done("sweep", "sweep.yaml", "--show")
    assert [row["seeds"] for row in table(printed)] == ["2", "2", "0 of 2"]
    assert printed.endswith("d_model=48, seed=1: not started\nd_model=48, seed=2: not started\n")


@pytest.mark.promise("sweep-is-resumed")
def test_trials_of_an_edited_recipe_are_refused(in_finished_sweep: str) -> None:
    tiny(TINY.replace("smoothing: 0.1", "smoothing: 0.2"))
    try:
        for option in ((), ("--show",), ("--write", "slurm", "jobs")):
            message = refused("sweep", "sweep.yaml", *option)
            assert ": has a run of another recipe; choose another folder (--folder)" in message
            assert "\n  training.objective.smoothing: 0.1 before, 0.2 now\n" in message
    finally:
        tiny()
    assert done("sweep", "sweep.yaml") == in_finished_sweep


@pytest.mark.promise("sweep-is-resumed")
@pytest.mark.usefixtures("recipe")
def test_finished_trials_resume_if_the_recipe_requires_more_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", forked.ForkedIfSeqx)
    sweep = write_sweep("recipe: tiny.yaml\nsettings: {model.d_model: 16}\n")
    tiny(TINY.replace("steps: 6", "steps: 2"))
    done("sweep", sweep)
    (trial,) = read_sweep(sweep).trials
    assert TrialState.read(trial).finished
    tiny(TINY.replace("steps: 6", "steps: 3"))
    assert [row["seeds"] for row in table(done("sweep", sweep, "--show"))] == ["0 of 1"]
    assert [row["seeds"] for row in table(done("sweep", sweep))] == ["1"]
    assert [line["step"] for line in lines(trial.folder, "update")] == [1, 2, 3]


@pytest.mark.usefixtures("recipe")
def test_changed_local_plugin_is_the_problem_of_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", forked.ForkedIfSeqx)
    Path("own.py").write_text(STOPPER, encoding="utf-8")
    tiny(f"plugins: [own.py]\n{TINY}", "own.yaml")
    sweep = write_sweep("recipe: [tiny.yaml, own.yaml]\nsettings: {training.steps: 2, model.d_model: 16}\n")
    done("sweep", sweep)
    Path("own.py").write_text(f"{STOPPER}\n# changed\n", encoding="utf-8")
    shown = done("sweep", sweep, "--show")
    assert [row["seeds"] for row in table(shown)] == ["1", "0 of 1"]
    assert "own.py has changed since this run began" in shown
    again = run_seqx("sweep", sweep)
    assert again.exit_code == 1
    assert [row["seeds"] for row in table(again.stdout)] == ["1", "0 of 1"]


@pytest.mark.usefixtures("recipe")
def test_recipe_that_is_edited_during_the_sweep_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = sweep_runner.start

    def edit_after(*arguments: Any) -> "subprocess.Popen[bytes]":
        process = start(*arguments)
        process.wait()
        edits.append(tiny(TINY.replace("smoothing: 0.1", f"smoothing: 0.{len(edits) + 2}")))
        return process

    edits: list[Path] = []
    monkeypatch.setattr(subprocess, "Popen", forked.ForkedIfSeqx)
    monkeypatch.setattr(sweep_runner, "start", edit_after)
    sweep = write_sweep("recipe: tiny.yaml\nsettings: {training.steps: 2, model.d_model: [8, 16]}\n")
    assert [row["seeds"] for row in table(done("sweep", sweep))] == ["1", "1"]
    assert len(edits) == 2


def test_sweep_with_one_seed_is_tested_by_the_paired_bootstrap(in_finished_sweep: str) -> None:
    write_sweep(SWEEP.replace("seeds: 2", "seeds: [1]\nbaseline: {model.d_model: 32}"))
    printed = done("sweep", "sweep.yaml")
    small, large = table(printed)
    assert large["p (test chrf)"] == "-"
    assert 0 < float(small["p (test chrf)"]) <= 1
    assert "\np: paired bootstrap test over the sentences of the test set against d_model=32, not" in printed


def test_sweep_writes_a_page_with_the_mean_of_the_curves_over_seeds(in_finished_sweep: str) -> None:
    done("sweep", "sweep.yaml")
    page = Path("runs/sweep/report.html").read_text()
    assert re.findall(r"<th scope=\"row\"><bdi>(\d+)</bdi>", page) == ["16", "32"]
    losses = [
        [line["nll"] for line in lines(folder, "update")]
        for folder in trial_folders()
        if folder.name.startswith("d_model=16-")
    ]
    mean = fmean(values[-1] for values in losses)
    assert f"d_model=16, update 2: {seqx.format_number(mean)}</title>" in page
    assert "all trials: recipe=tiny.yaml, training.steps=2" in page


def test_sweep_names_trials_with_only_empty_outputs(in_finished_sweep: str) -> None:
    assert "empty" not in in_finished_sweep
    empty, *_ = read_sweep(Path("sweep.yaml")).trials
    file = empty.folder / "outputs/test.txt"
    before = file.read_text()
    file.write_text("\n" * before.count("\n"))
    notes = done("sweep", "sweep.yaml", "--show")
    latex = done("sweep", "sweep.yaml", "--show", "--format", "latex")
    file.write_text(before)
    assert [text.count("are empty") for text in (notes, latex)] == [1, 1]
    assert [f"% {line}" for line in notes.partition("\n\n")[2].splitlines()] == [
        line for line in latex.splitlines()[1:] if line.startswith("%")
    ]
    assert "\n% p: Welch's two-sided t-test over seeds" in latex
    assert f"\n{empty}: all outputs for test are empty, so its test scores are those of" in notes


def test_sweep_prints_each_signature_once(in_finished_sweep: str) -> None:
    done("sweep", "sweep.yaml")
    page = Path("runs/sweep/report.html").read_text()
    latex = done("sweep", "sweep.yaml", "--show", "--format", "latex")
    for text, prefix in ((in_finished_sweep, "\n"), (latex, "\n% "), (page, "")):
        assert [text.count(f"{prefix}{name}: ") for name in ("bleu", "chrf")] == [1, 1]


def test_sweep_compares_perplexities_of_one_vocabulary_and_marks_equal_scores() -> None:
    def results(*, vocabulary: str) -> Results:
        sweep = Sweep(
            name="x",
            configurations=(chosen := [configuration(width) for width in (1, 2)]),
            seeds=[1, 2],
            baseline=chosen[0],
            halving=None,
            folder=Path("x"),
        )
        states = {
            trial: TrialState(
                started=True,
                row={
                    "finished": True,
                    "failed": None,
                    "published": None,
                    "vocabulary": "a" if trial.configuration is chosen[0] else vocabulary,
                    "scores": {"test": {"bleu": {"value": 0.0, "signature": ""}}},
                    "perplexity": {"test": trial.configuration.settings["width"] + trial.seed / 10},
                },
            )
            for trial in sweep.trials
            if trial.seed is not None
        }
        return Results(sweep=sweep, states=states)

    def configuration(width: int) -> Configuration:
        settings = {"width": width}
        return Configuration(recipe="x", recipe_file="x", profile=None, settings=settings, varied=settings)

    columns = {column.name: column.texts for column in results(vocabulary="a").columns()}
    assert columns["p (test bleu)"] == ["-", "equal"]
    assert columns["p (test perplexity)"] == ["-", "0.005"]
    assert "p (test perplexity)" not in {column.name for column in results(vocabulary="b").columns()}


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--html", "missing/x.html"), "missing/x.html: the folder missing does not exist; create it"),
        (
            ("--write", "slurm", "missing/jobs"),
            "missing/jobs: the folder missing does not exist; create it, or choose another --write",
        ),
        (("--show", "--folder", "tiny.yaml"), "Usage: "),
        (
            ("training.steps=-1",),
            "sweep: no trial was started:\nall trials:\ntraining.steps=-1: Input should be",
        ),
    ],
    ids=str,
)
def test_sweep_refuses_wrong_options(
    monkeypatch: pytest.MonkeyPatch, options: Sequence[str], message: str
) -> None:
    monkeypatch.setattr(sweep_runner, "start", lambda *_: pytest.fail("a trial was started"))
    printed = refused("sweep", write_sweep(), *options)
    assert printed.startswith(message)
    assert printed.count("no trial") <= 1
    assert not Path("missing").exists()


def test_sweep_writes_all_data_as_json_and_tables_as_csv_and_latex(in_finished_sweep: str) -> None:
    first, second = json.loads(done("sweep", "sweep.yaml", "--json"))
    assert (first["baseline"], second["baseline"]) == (True, False)
    assert [trial["run"]["finished"] for trial in second["trials"]] == [True, True]
    assert second["p_values"]["chrf"] <= 1
    header = done("sweep", "sweep.yaml", "--format", "csv").splitlines()[0]
    assert "test chrf standard deviation" in header.split(",")
    assert "$\\pm$" in done("sweep", "sweep.yaml", "--format", "latex")


@pytest.mark.promise("sweep-is-resumed")
@pytest.mark.usefixtures("recipe")
def test_trial_of_a_killed_sweep_that_still_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is `sleep`; the sweep ends without waiting for it, as if it was killed."""
    Popen = subprocess.Popen
    sleep = ["sleep", "60"]
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: Popen(sleep, pass_fds=options["pass_fds"]))
    sweep = read_sweep(write_sweep())
    with sweep_runner._sweep_lock(sweep.folder) as lock:
        process = sweep_runner.start(sweep.trials[0], "cpu", {}, lock)
        sweep_runner._record_running(lock, {sweep.trials[0]: process})
    with process:
        message = refused("sweep", write_sweep(), "training.schedule.warmup=1")
        process.kill()
    assert message == (
        "runs/sweep: the trial d_model=16, seed=1 of another sweep in this folder still runs; wait for it, "
        "or choose another folder (--folder)\n"
    )
    monkeypatch.setattr(sweep_runner, "start", lambda *_: Process(code=0))
    assert run_seqx("sweep", write_sweep()).exit_code == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"t\\n1.yaml": PROCESS}', "the trial t\n1.yaml of another sweep"),
        ("PROCESS\ttrial of an earlier version\n", "another sweep"),
    ],
)
def test_locked_folder_of_a_sweep_is_refused_whatever_its_lock_has(
    content: str, reason: str, tmp_path: Path
) -> None:
    with sweep_runner._sweep_lock(tmp_path):
        (tmp_path / ".lock").write_text(content.replace("PROCESS", str(os.getpid())), encoding="utf-8")
        with pytest.raises(seqx.UserError, match=reason), sweep_runner._sweep_lock(tmp_path):
            pass


@pytest.mark.usefixtures("recipe")
def test_sweep_reports_the_progress_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_check, "_REPORT_S", 0)
    reported: list[str] = []
    checked_recipes(read_sweep(write_sweep(), None, ["training.schedule.warmup=1"]), reported.append)
    assert reported == ["sweep: checked 0 of 2 configurations", "sweep: checked 1 of 2 configurations"]


@pytest.mark.promise("sweep-continues-after-a-failed-trial")
@pytest.mark.usefixtures("recipe")
def test_invalid_trials_are_refused_before_the_first_one_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_runner, "start", lambda *_: pytest.fail("a trial was started"))
    write_sweep(SWEEP.replace("[16, 32]", "[16, 33]"))
    message = refused("sweep", "sweep.yaml")
    assert message.startswith("sweep: no trial was started:\ntrial d_model=33:\n")
    assert "model.encoder.attention: heads (2) must divide d_model (33)" in message
    assert not Path("runs").exists()


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: [a", "sweep.yaml:1:"),
        ("[]", "sweep.yaml: is not a sweep; it needs at least `recipe: NAME`"),
        ("recipe: tiny.yaml\nseed: 3", "sweep.yaml: seed: "),
        ("settings: {}", "sweep.yaml: recipe: "),
        ("recipe: 3", "sweep.yaml: recipe: Input should be a valid string or a valid list; the fields"),
        (
            "recipe: tiny.yaml\nprofile: [3]",
            "sweep.yaml: profile.0: Input should be a valid string; the fields",
        ),
        (
            "recipe: tiny.yaml\nseeds: 0",
            "sweep.yaml: seeds: Input should be greater than or equal to 1 or a v",
        ),
        (
            "recipe: tiny.yaml\nseeds: [1, a]",
            "sweep.yaml: seeds.1: Input should be a valid integer; the fields",
        ),
        (
            "recipe: tiny.yaml\nhalving: 3",
            "sweep.yaml: halving: Input should be a valid dictionary; the fields",
        ),
        (
            "recipe: tiny.yaml\nsettings: {a: [1, 2]}\nseeds: 1000000000000000000000",
            "sweep.yaml: seeds: 2,000,000,000,000,000,000,000 trials are too many: 2 (a) x 1,000,",
        ),
        ("recipe: tiny.yaml\nsample: 10001", "sweep.yaml: sample: 10,001 trials are too many"),
        ("recipe: tiny.yaml\nseeds: [1, 1]", "sweep.yaml: seeds: a seed occurs twice"),
        ("recipe: tiny.yaml\nsettings: {a: []}", "sweep.yaml: settings: a has no values"),
        ("recipe: tiny.yaml\nsettings: {a: [1, 1]}", "sweep.yaml: settings: a lists a value twice"),
        (
            "recipe: tiny.yaml\nsettings: {a: {uniform: [0, 1]}}",
            "sweep.yaml: settings: a is a range; set `sa",
        ),
        (
            "recipe: tiny.yaml\nsettings: {a: {uniform: [1, 0]}}",
            "sweep.yaml: settings: a: is not a range; write",
        ),
        ("recipe: tiny.yaml\nsettings: {training.seed: 1}\nseeds: 2", "sweep.yaml: settings: training.seed"),
        ("recipe: tiny.yaml\nbaseline: {a: 1}", "sweep.yaml: baseline: no configuration has these values"),
        (
            "recipe: tiny.yaml\nhalving: {steps: 1}",
            "sweep: no trial was started:\ntrial tiny.yaml: `halving` c",
        ),
        ("recipe: missing", "sweep: no trial was started:\ntrial missing:\nno recipe is called 'missing'"),
    ],
)
def test_wrong_sweep_is_refused(text: str, message: str) -> None:
    write_sweep(text)
    assert refused("sweep", "sweep.yaml").startswith(message)


@pytest.mark.promise("sweep-is-resumed")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal on the end of a parent")
def test_trials_are_stopped_when_the_sweep_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "killed.py"
    file.write_text(KILLED, encoding="utf-8")
    sweep = forked.Forked([sys.executable, file], stdout=subprocess.PIPE, text=True)
    assert sweep.stdout is not None
    with sweep, sweep.stdout:
        child = Path("/proc", sweep.stdout.readline().strip(), "cmdline")
        assert child.read_bytes().startswith(b"sleep")
        sweep.kill()
        sweep.wait()
    for _ in range(100):
        if not child.exists() or not child.read_bytes():  # ended; a zombie has no command line
            break
        time.sleep(0.05)
    else:
        pytest.fail("the trial still runs")


@pytest.mark.promise("sweep-continues-after-a-failed-trial")
@pytest.mark.usefixtures("recipe")
def test_other_trials_continue_after_a_failed_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(trial: Trial, *_: object) -> Process:
        trial.log.parent.mkdir(parents=True, exist_ok=True)
        with trial.log.open("a") as log:
            log.write("" if trial.seed == 2 else "no memory\n\n")
        started.append(trial)
        return Process(code=2 if "16" in str(trial) else 0)

    started: list[Trial] = []
    monkeypatch.setattr(sweep_runner, "start", start)
    log = read_sweep(write_sweep()).trials[2].log
    log.parent.mkdir(parents=True)
    log.write_text("a line of an earlier process\n")
    result = run_seqx("sweep", write_sweep(), "--jobs", "3")
    assert (result.exit_code, len(started)) == (1, 4)
    assert f"\nd_model=16, seed=1: failed: no memory (see {started[0].log})\n" in result.stdout
    assert f"\nd_model=16, seed=2: failed: exit code 2 (see {log})\n" in result.stdout


@pytest.mark.promise("sweep-is-resumed")
@pytest.mark.usefixtures("recipe")
def test_second_sweep_on_a_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_runner, "start", lambda *_: pytest.fail("a trial was started"))
    with seqx.folder_lock(Path("runs/sweep"), "sweep"):
        assert refused("sweep", write_sweep(), "training.schedule.warmup=1") == (
            "runs/sweep: another sweep uses this folder; wait for it, or choose another folder (--folder)\n"
        )
        assert "d_model=16, seed=1: not started\n" in done("sweep", "sweep.yaml", "--show")


@pytest.mark.promise("sweep-is-resumed")
@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize(("count", "stopped"), [(1, "1 trial; it"), (2, "2 trials; each")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_all_trials(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, count: int, stopped: str
) -> None:
    def start(*_: object) -> Process:
        processes.append(Process(code=None))
        if len(processes) == count:
            signal.raise_signal(number)
        return processes[-1]

    processes: list[Process] = []
    monkeypatch.setattr(sweep_runner, "start", start)
    result = run_seqx("sweep", write_sweep(), "--jobs", "3")
    assert (result.exit_code, [each.terminated for each in processes]) == (75, [1] * count)
    end = f"stopped by {number.name}; run the same command again to continue\n"
    assert result.stderr.endswith(f"stopping {stopped} saves a checkpoint\n{end}")


@pytest.mark.usefixtures("recipe")
def test_trial_with_a_checkpoint_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_runner, "start", lambda *_: Process(code=0))
    monkeypatch.setattr(sweep_runner, "_POLL_S", 0)
    trial = read_sweep(write_sweep()).trials[1]
    (trial.folder / "checkpoints/00000001").mkdir(parents=True)
    result = run_seqx("sweep", "sweep.yaml")
    assert "[1/4] d_model=16, seed=1: started; " in result.stderr
    assert "[2/4] d_model=32, seed=1: resumed; " in result.stderr


def record_validation(trial: Trial, width: float, by: str, step: int = 3) -> None:
    """Record a validation at update `step` that is better for a larger `width`."""
    trial.folder.mkdir(parents=True, exist_ok=True)
    score: seqx.ScoreLine = {"value": width, "signature": ""}
    if by == "lower_is_better":
        score = {"value": -width, "signature": "", "lower_is_better": True}
    if by == "perplexity":
        score["value"] = 0.0
    perplexity = 1 / width if by == "perplexity" else 1.0
    seqx.MetricsFile(trial.folder).append(
        {"kind": "evaluation", "step": step, "split": "dev", "scores": {"x": score}, "perplexity": perplexity}
    )


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize("by", ["score", "lower_is_better", "perplexity"])
def test_successive_halving_stops_bad_trials(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Of four configurations, the best two are resumed after 3 updates; the baseline is never stopped.

    Configurations whose scores are all 0 are compared by perplexity.
    """

    def start(trial: Trial, *_: object) -> Process:
        width = trial.configuration.settings["model.d_model"]
        started.append(width)
        if started.count(width) == 2:
            return Process(code=0)
        record_validation(trial, width, by)
        return Process(code=None)

    started: list[int] = []
    monkeypatch.setattr(sweep_runner, "start", start)
    monkeypatch.setattr(sweep_runner, "_POLL_S", 0)
    result = run_seqx("sweep", write_sweep(HALVING))
    assert started == [8, 16, 32, 64, 8, 32, 64]
    assert "d_model=16: stopped after 3 updates by successive halving\n" in result.stdout
    assert "d_model=64: paused until it is compared with the others\n" in result.stderr
    assert "d_model=16: not " not in result.stdout
    stopped = stopped_so_far(read_sweep(Path("sweep.yaml")), 6)
    assert [each.settings for each in stopped] == [{"model.d_model": 16}]


@pytest.mark.usefixtures("recipe")
def test_successive_halving_reads_only_metrics_that_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    polls = [0]
    reads: list[Path] = []
    read = seqx.MetricsFile.read

    def sleep(_: float) -> None:
        polls[0] += 1
        if polls[0] == 20:
            record_validation(trial, 1, "score", step=3)

    def counted(file: seqx.MetricsFile) -> seqx.RecordedMetrics:
        reads.append(file.path)
        return read(file)

    trial = read_sweep(write_sweep(HALVING)).trials[0]
    record_validation(trial, 1, "score", step=2)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(seqx.MetricsFile, "read", counted)
    process = Process(code=None)
    monkeypatch.setattr(sweep_runner, "start", lambda *_: process)
    monkeypatch.setattr(sweep_runner, "_record_running", lambda *_: None)
    sweep_runner.Runner(jobs=1, device="cpu", report=lambda _: None)._run_until([trial], 3)
    assert process.terminated == 1
    assert len(reads) <= 3


@pytest.mark.usefixtures("recipe")
def test_successive_halving_compares_the_last_validation_of_a_finished_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The two largest models end after 2 updates: one because of its patience, the other by an error."""
    sweep = read_sweep(write_sweep(HALVING.replace("64]", "64, 128]")))
    for trial in sweep.trials:
        width = trial.configuration.settings["model.d_model"]
        record_validation(trial, width, "score", step=2 if width >= 64 else 3)

    def read(trial: Trial) -> TrialState:
        is_finished = trial.configuration.settings["model.d_model"] == 64
        return TrialState(started=True, row={"finished": is_finished, "failed": None})

    monkeypatch.setattr(TrialState, "read", read)
    stopped = [each.settings["model.d_model"] for each in sweep_runner.stopped_at(sweep, {}, 3)]
    assert stopped == [128]
    sweep = read_sweep(write_sweep(HALVING.replace("steps: 3", "steps: 3, factor: 3")))
    stopped = [each.settings["model.d_model"] for each in sweep_runner.stopped_at(sweep, {}, 3)]
    assert stopped == [16]


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, ["0", "1", "0"]), ("2, 3", ["2", "3", "2"]), ("GPU-a,GPU-b", ["GPU-a"])]
)
def test_trials_divide_the_gpus_that_the_sweep_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: Sequence[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    runner = sweep_runner.Runner(jobs=3, device="auto", report=print, gpus=2)
    names = [runner._environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(len(expected))]
    assert names == expected


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize("scheduler", ["slurm", "skypilot"])
def test_scheduler_files_are_valid_and_run_each_trial(scheduler: str) -> None:
    printed = done("sweep", write_sweep(), "--write", scheduler, "my jobs", "--jobs", "3")
    files = {Path(line).name: Path(line).read_text() for line in printed.splitlines()}
    commands = files["trials.txt"].splitlines()
    first = "seqx run tiny.yaml training.steps=2 model.d_model=16 training.seed=1 --folder "
    assert (commands[0].startswith(first), len(commands)) == (True, 4)
    scripts = [text for name, text in files.items() if name in ("job.sbatch", "launch.sh")]
    run = yaml.safe_load(files["sky.yaml"])["run"] if scheduler == "skypilot" else scripts[0]
    for script in {*scripts, run}:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for name in ("seqx", "srun"):
        Path(name).write_text('#!/bin/sh\n[ "${0##*/}" = srun ] && exec "$@"\necho seqx "$@"\n')
        Path(name).chmod(0o755)
    variables = {"TRIAL": "3", "SLURM_ARRAY_TASK_ID": "3", "PATH": f"{Path.cwd()}:{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "-c", run], env=variables, capture_output=True, text=True, check=True)
    assert shown.stdout == f"{commands[2]}\n"
    if scheduler == "slurm":
        assert "\n#SBATCH --array=1-4%3\n" in run


@pytest.mark.usefixtures("recipe")
def test_scheduler_files_that_cannot_be_written_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("seqx.storage.atomic.fsync", full)
    message = refused("sweep", write_sweep(), "--write", "slurm", "jobs").splitlines()[-1]
    assert message.startswith("jobs/trials.txt: cannot be written: No space left on device; free disk space")
    assert not [*Path("jobs").iterdir()]


@pytest.mark.usefixtures("recipe")
def test_random_sample_keeps_its_first_trials_when_it_grows() -> None:
    found = [each.settings for each in read_sweep(write_sweep(SAMPLE)).configurations]
    assert len(found) == 3
    assert all(1e-4 <= each["a"] <= 1e-2 and each["b"] in (1, 2) and type(each["c"]) is int for each in found)
    more = read_sweep(write_sweep(SAMPLE.replace("sample: 3", "sample: 5"))).configurations
    assert [each.settings for each in more[:3]] == found


@pytest.mark.usefixtures("recipe")
def test_random_sample_of_a_small_grid_contains_each_combination_once() -> None:
    text = "recipe: tiny.yaml\nsample: 9\nsettings: {b: [1, 2], c: [3, 4]}\n"
    found = [[*each.settings.values()] for each in read_sweep(write_sweep(text)).configurations]
    assert sorted(found) == [[1, 3], [1, 4], [2, 3], [2, 4]]


@pytest.mark.usefixtures("recipe")
def test_columns_have_the_shortest_different_names() -> None:
    settings = "{model.encoder.layers: [1, 2], model.decoder.layers: [1, 2], x.size: [1, 2]}"
    file = write_sweep(f"recipe: tiny.yaml\nsettings: {settings}\n")
    found = read_sweep(file, overrides=["x.size=[1, 2]"])
    assert str(found.baseline) == "encoder.layers=1, decoder.layers=1"
    assert found.baseline.settings["x.size"] == [1, 2]
    assert len(found.trials) == 4


@pytest.mark.usefixtures("recipe")
def test_override_of_a_sweep_can_append_to_a_list() -> None:
    sweep = read_sweep(write_sweep(), overrides=["callbacks+={type: metrics, every: 7}"])
    recipe = checked_recipes(sweep)[sweep.baseline]
    assert [callback["type"] for callback in recipe["callbacks"]] == ["progress", "metrics", "metrics"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [4, 5, 6], 0.02131),  # t = 3.6742 with 4 degrees of freedom
        ([27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0], 0.20199),
        ([1, 1], [1, 1], 1.0),
    ],
)
def test_p_value_of_welch(first: Sequence[float], second: Sequence[float], expected: float) -> None:
    assert welch_p_value(first, second) == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("recipe")
def test_sweep_prints_the_remaining_time_with_each_trial_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1_000_000, 60))  # a minute between two calls: from start to end of each trial
    monkeypatch.setattr("seqx_runs.sweep_runner.time.monotonic", lambda: next(clock))
    codes = iter([2, 0, 0, 0])
    monkeypatch.setattr(sweep_runner, "start", lambda *_: Process(code=next(codes)))
    result = run_seqx("sweep", write_sweep(), "training.schedule.warmup=1")
    ends = [line.partition("; ")[2] for line in result.stderr.splitlines() if "; its output" not in line]
    assert [end for end in ends if end] == [
        "3 trials left",  # the duration of a trial that failed says nothing about the others
        "2 trials left, about 2 min",
        "1 trial left, about 60 s",
    ]


def test_remaining_time_shares_the_waiting_trials_between_jobs() -> None:
    left = RemainingTime(jobs=2, until="until the next comparison")
    assert left.text([5], 3) == "; 4 trials left until the next comparison"
    left.add(10, was_resumed=True)
    assert left.seconds([5], 3) == 20  # ends at 5, 10, 15 and 20
    left.add(100, was_resumed=False)
    assert left.seconds([150], 2) == 100
    assert left.seconds([30], 0) == 70
    assert left.text([], 0) == ""
