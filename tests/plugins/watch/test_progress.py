"""The callback `progress`: plain lines, the log, and the view on a terminal."""

import gc
import os
import pty
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

import seqx
from seqx_watch import ConsoleProgress, lines, progress
from seqx_watch.metrics import Metrics, Window, WindowMeans
from tests.plugins.watch.simulation import Clock, Simulation, run, update


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


LINES = """\
learning the vocabulary
preparing train: 2,000 rows
preparing train: 8,000 rows
wmt: 61,362,176 parameters, on cpu in fp32, in FOLDER
1,500 training examples, 60,000 target tokens; 25 updates per epoch, 120 in total
dropped 13 of 1,513 rows: 12 duplicate, 1 empty
2 training rows also occur in dev; compared by a single column: 3 (column 0), 5 (column 1)
step  50/120  loss  4.7450  perplexity    42.309  rate 5.00e-04      2,000 target tokens/s  padding  5.0%  \
left  0:01:10
step 100/120  loss  4.2450  perplexity    25.662  rate 1.00e-03      2,000 target tokens/s  padding  5.0%  \
left  0:00:20
step 100/120  dev: bleu 20.00 (best 20.00 at step 100)  chrf 40.00  perplexity 7.25
  input      in 0
  output     out  [2J0
  reference  ref 0
  input      in 4
  output     out  [2J4
  reference  ref 4
step 120/120  loss  3.8950  perplexity    18.084  rate 1.20e-03      2,000 target tokens/s  padding  5.0%  \
left  0:00:00
step 120/120  dev: bleu 19.00 (best 20.00 at step 100)  chrf 38.00  perplexity 7.25
  input      in 1
  output     out  [2J1
  reference  ref 1
  input      in 5
  output     out  [2J5
  reference  ref 5
model of wmt  dev: bleu 21.00  chrf 42.00  perplexity 7.25
model of wmt  test: bleu 20.50  chrf 41.00  perplexity 7.25
"""
CLOSING = """\
dev   bleu   21.00  nrefs:1|case:mixed
dev   chrf   42.00  nrefs:1
test  bleu   20.50  nrefs:1|case:mixed
test  chrf   41.00  nrefs:1
"""


def simulate_run(simulation: Simulation) -> None:
    """Call the events of preparation and of a run of 120 updates."""
    simulation.events.preparing(activity="learning the vocabulary", fraction=None)
    for rows in range(2000, 10_000, 1000):
        simulation.events.preparing(activity=f"preparing train: {rows:,} rows", fraction=None)
        simulation.clock.now += 5
    simulation.start()
    simulation.update(1, 100)
    simulation.evaluate(100, 20.0)
    simulation.save(100)
    simulation.update(101, 120)
    simulation.evaluate(120, 19.0)
    simulation.save(120)
    simulation.evaluate(120, 21.0, is_final=True)
    simulation.evaluate(120, 20.5, "test", is_final=True)
    simulation.finish()


def test_console_progress_prints_plain_lines(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_run(Simulation(run(tmp_path, steps=120), ConsoleProgress(every=50), clock=clock))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.replace(str(tmp_path), "FOLDER") == LINES
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == err + CLOSING
    assert all(char.isprintable() or char == "\n" for char in err)


def test_examples_of_a_validation_are_shortened() -> None:
    answer = seqx.Answer(input="a" * 147, output="b" * 48_000, reference="语" * 74)
    shown = list(lines.examples(seqx.Evaluation(scores={}, answers=[answer]), 1, 0))
    assert shown == [
        f"  input      {'a' * 147}",
        f"  output     {'b' * 144}...",
        f"  reference  {'语' * 72}...",
    ]
    assert [cell_len(line) for line in shown] == [160, 160, 160]


def test_console_progress_ends_preparation_with_a_line(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is printed also if preparation is fast; equal lines are not repeated."""
    events = Simulation(run(tmp_path), ConsoleProgress(), clock=clock).events
    for share in (0.1, 0.5, 0.9, 1.0, 1.0):
        events.preparing(activity="checking europarl.tgz", fraction=share)
    for rows in range(1000, 20_000, 1000):
        events.preparing(activity=f"preparing train: {rows:,} rows", fraction=None)
        clock.now += 4
    events.preparing(activity="prepared train: 19,000 rows", fraction=None)
    assert capsys.readouterr().err.splitlines() == [
        "checking europarl.tgz (10%)",
        "checking europarl.tgz (100%)",
        "preparing train: 1,000 rows",
        "preparing train: 9,000 rows",
        "preparing train: 17,000 rows",
        "prepared train: 19,000 rows",
    ]


def test_console_progress_prints_lines_by_time(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(run(tmp_path), ConsoleProgress(seconds=30), clock=clock)
    simulation.start()
    simulation.update(1, 100)
    steps = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    assert steps == ["30/300", "60/300", "90/300"]


def test_console_progress_appends_to_the_log_of_a_resumed_run(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(run(tmp_path), ConsoleProgress(every=10), clock=clock)
    simulation.start()
    simulation.update(1, 10)
    simulation.fail(KeyboardInterrupt())
    capsys.readouterr()
    simulation = Simulation(
        run(tmp_path, done=10, best=(30.0, 8)), ConsoleProgress(every=10, examples=0), clock=clock
    )
    simulation.start()
    simulation.update(11, 20)
    simulation.evaluate(20, 20.0)
    err = capsys.readouterr().err
    assert "resumed from update 10\n" in err
    assert "left  0:04:40\n" in err  # 280 updates of one second each
    assert err.endswith("dev: bleu 20.00 (best 30.00 at step 8)  chrf 40.00  perplexity 7.25\n")
    log = (tmp_path / "log.txt").read_text()
    assert "interrupted; run the same command again to continue from the last checkpoint\n" in log
    assert log.endswith(err)


def test_console_progress_shows_a_repeated_validation_as_one(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was stopped during its last validation repeats it when it resumes."""
    simulation = Simulation(run(tmp_path, done=300), ConsoleProgress(examples=0), clock=clock)
    simulation.start()
    simulation.evaluate(300, 20.0)
    simulation.save(300)
    simulation.evaluate(300, 20.0, is_final=True)
    *_, validation, final = capsys.readouterr().err.splitlines()
    assert validation.startswith("step 300/300  dev: bleu 20.00 (best ")
    assert final.startswith("model of ")


def test_time_left_of_a_resumed_run_does_not_include_the_time_until_its_first_update(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(run(tmp_path, done=280), ConsoleProgress(every=1), clock=clock)
    simulation.start()
    clock.now += 600  # the pending validation, and compiling
    simulation.update(281, 282)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    assert [line.split()[-1] for line in lines] == ["0:00:10", "0:00:18"]


def test_console_progress_reports_skipped_updates(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = Simulation(run(tmp_path), ConsoleProgress(every=2), clock=clock)
    simulation.start()
    for step in (1, 2):
        simulation.events.updated(run=simulation.run, update=update(step, loss=float("nan"), skipped=True))
    line = capsys.readouterr().err.splitlines()[-1]
    assert "loss     nan" in line
    assert line.endswith("skipped 2: loss or gradient not finite")


def test_console_progress_logs_an_error_without_printing_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints it."""
    simulation = Simulation(run(tmp_path), ConsoleProgress())
    simulation.start()
    capsys.readouterr()
    simulation.fail(seqx.UserError("no room"))
    assert capsys.readouterr().err == ""
    assert (tmp_path / "log.txt").read_text().endswith("failed: UserError: no room\n")


def test_console_progress_waits_for_the_device_only_to_print(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(run(tmp_path), ConsoleProgress(every=40), clock=clock)
    simulation.start()
    reads: list[int] = []
    read = Window.read

    def counted(window: Window) -> WindowMeans:
        reads.append(window.updates)
        return read(window)

    monkeypatch.setattr(Window, "read", counted)
    simulation.update(1, 100)
    assert reads == [40, 40]


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make standard error a terminal of 120 columns; at the end, append its output to the yielded list."""
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    master, slave = pty.openpty()
    chunks: list[bytes] = []
    written: list[str] = []

    def listen() -> None:
        while not chunks or not chunks[-1].endswith(b"\0"):
            chunks.append(os.read(master, 65536))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        with open(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:  # noqa: PTH123
            patch.setattr(sys, "stderr", stream)
            try:
                yield written
            finally:
                stream.write("\0")
                stream.flush()
                listener.join()
    finally:
        os.close(master)
    written.append(b"".join(chunks).decode())


def test_console_progress_draws_a_live_view_on_a_terminal(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal(monkeypatch) as outputs:
        simulate_run(Simulation(run(tmp_path, steps=120), ConsoleProgress(every=50), clock=clock))
    written = outputs[0]
    assert capsys.readouterr() == ("", "")
    assert "preparing train: 2,000 rows" in written
    assert "step 37/120, 0:01:23 left" in written
    assert "loss 4.6300" in written
    assert "perplexity 37.713" in written
    assert "dev: bleu 20.00 (best 20.00 at step 100)" in written
    assert "model of wmt  test: bleu 20.50  chrf 41.00" in written
    assert "\x1b[2J" not in written  # outputs of a model cannot control the terminal
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is shown
    assert (tmp_path / "log.txt").read_text().replace(str(tmp_path), "FOLDER") == LINES + CLOSING


def test_terminal_restores_the_cursor_if_preparation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(monkeypatch) as outputs:
        callback = ConsoleProgress()
        callback.preparing(activity="fetching", fraction=0.5)
        del callback
        gc.collect(1)  # not the millions of objects of earlier tests
    assert "fetching" in outputs[0]
    assert "50.0%" in outputs[0]
    assert outputs[0].rindex("\x1b[?25h") > outputs[0].rindex("\x1b[?25l")


def test_console_progress_prints_lines_on_a_terminal_that_cannot_redraw(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(monkeypatch) as outputs:
        monkeypatch.setenv("TERM", "dumb")
        simulate_run(Simulation(run(tmp_path, steps=120), ConsoleProgress(every=50), clock=clock))
    assert outputs[0].rstrip("\0").replace("\r\n", "\n").replace(str(tmp_path), "FOLDER") == LINES


def test_validation_line_has_the_main_scores_and_the_metrics_file_all_of_them(tmp_path: Path) -> None:
    scores = {
        name: seqx.Score(value=50, signature="", is_detail=name != "f1")
        for name in ("f1", "recall", "precision")
    }
    evaluation = seqx.Evaluation(scores=scores, answers=[])
    assert lines.scores(evaluation, "best 50.00 at step 3") == "f1 50.00 (best 50.00 at step 3)"
    simulated = Simulation(run(tmp_path, steps=10), Metrics())
    simulated.start()
    simulated.evaluate(3, evaluation=evaluation)
    (recorded,) = seqx.MetricsFile(tmp_path).read().evaluations
    assert [*recorded.scores] == [*scores]
