"""The live view of the callback `progress`, on the screen of a terminal emulator."""

import fcntl
import os
import pty
import struct
import sys
import termios
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pytest
from rich.text import Text

import seqx
from seqx_watch import ConsoleProgress, progress
from seqx_watch.live_rows import compared
from seqx_watch.terminal import Terminal
from tests.plugins.watch.simulation import Clock, Simulation, evaluation_with, run

pyte = pytest.importorskip("pyte")


def resize(columns: int, rows: int) -> None:
    """Change the size of the terminal of this process; the emulator resizes its screen at the mark."""
    os.write(2, b"\0")
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def screens(work: Callable[[], None], *sizes: tuple[int, int], reflows: bool = True) -> list[list[str]]:
    """Run `work` in a fork on a terminal; return the rows of its screen at each resize and at the end."""
    pid, master = pty.fork()
    if not pid:
        code = 1
        try:
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ["TERM"] = "xterm-256color"
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, "rw"[fd > 0]) for fd in range(3))
            resize(*sizes[0])
            work()
            code = 0
        except BaseException:  # noqa: BLE001  the child must not return to pytest
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    written = b""
    while True:
        try:
            written += os.read(master, 65536)
        except OSError:  # the child has ended
            break
    os.close(master)
    assert os.waitpid(pid, 0)[1] == 0, written.decode()
    shown, screen = [], pyte.Screen(*sizes[0])
    for text, size in zip(written.decode().split("\0")[1:], [*sizes[1:], None], strict=True):
        pyte.Stream(screen).feed(text)
        shown.append([line.rstrip() for line in screen.display[: screen.cursor.y + 1]])
        assert not screen.cursor.hidden
        if size and reflows:
            screen = pyte.Screen(*size)
            pyte.Stream(screen).feed("\r\n".join(shown[-1]))
        elif size:
            screen.resize(size[1], size[0])
    return shown


def simulation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return Simulation(run(folder, steps=120), ConsoleProgress(), clock=clock)


def evaluation() -> seqx.Evaluation:
    answer = seqx.Answer(input="the cat sleeps", output="die Katze läuft", reference="die Katze schläft")
    return seqx.Evaluation(scores=evaluation_with(20.0).scores, answers=[answer])


def interrupt_run(simulated: Simulation, columns: int) -> None:
    """Make 60 updates with a validation, and interrupt the run; a screen ends before the interrupt."""
    simulated.start()
    simulated.update(1, 40)
    simulated.evaluate(40, evaluation=evaluation())
    simulated.update(41, 60)
    resize(columns, 24)
    simulated.fail(KeyboardInterrupt())


def test_live_view_shows_progress_curves_speed_and_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = simulation(tmp_path, monkeypatch)

    during, after = screens(partial(interrupt_run, simulated, 80), (80, 24), (80, 24))
    start = during.index("step 40/120  dev: bleu 20.00 (best 20.00 at step 40)  chrf 40.00") + 1
    assert during[start] == "step 60/120, 0:01:00 left ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  50.0%"
    assert during[start + 1].startswith("loss 4.4000 ██▇▇▇▆▆▆▆▅▅▅▄▄▄▃▃▃▃▂▂▂▁▁  ")
    view = "\n".join(during[start:])
    for field in ("dev bleu 20.00 ▁ (best 20.00 at step 40)", "2,000 target tokens/s", "memory ", " GB"):
        assert field in view
    assert during[-3:] == [
        "input      the cat sleeps",
        "output     die Katze läuft",
        "reference  die Katze schläft",
    ]
    assert after == [*during[:start], ""]  # the view is removed


@pytest.mark.parametrize(
    ("output", "reference", "marked"),
    [
        ("die Katze läuft weg", "die Katze schläft", ["läuft weg", "schläft"]),
        ("", "ein Hund", ["", "ein Hund"]),
        ("猫走了", "猫睡了", ["走", "睡"]),
        ("gleich viel", "gleich  viel", ["", ""]),
    ],
)
def test_words_in_which_output_and_reference_differ_are_marked(
    output: str, reference: str, marked: list[str]
) -> None:
    answer = seqx.Answer(input="x", output=output, reference=reference)
    texts = [text for _, text in compared(answer)[1:]]
    found = [
        "".join(text.plain[span.start : span.end] for span in text.spans if span.style) for text in texts
    ]
    assert found == marked


@pytest.mark.promise("terminal-is-left-clean")
def test_live_view_fits_narrow_low_and_resized_terminals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = simulation(tmp_path, monkeypatch)

    def work() -> None:
        simulated.start()
        simulated.update(1, 40)
        simulated.evaluate(40, evaluation=evaluation())
        for columns, rows in ((40, 30), (90, 30), (30, 6)):
            resize(columns, rows)
            simulated.update(41, 50)
        simulated.update(51, 60)
        resize(80, 24)
        simulated.finish()

    wide, narrow, wide_again, low, after = screens(work, (80, 30), (40, 30), (90, 30), (30, 6), (80, 24))
    for screen in (wide, narrow, wide_again):  # no rows of an earlier view remain
        assert len([line for line in screen if line.startswith("step") and "left" in line]) == 1
        assert len([line for line in screen if line.startswith("reference")]) == 1
    assert max(map(len, narrow[-9:])) <= 40
    assert len(low) <= 6
    assert low[-5].startswith("step 60/120")  # the last rows are left out
    assert not any("GB" in line or "left" in line for line in after)


@pytest.mark.promise("terminal-is-left-clean")
def test_messages_scroll_above_the_live_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = simulation(tmp_path, monkeypatch)

    def work() -> None:
        simulated.start()
        simulated.update(1, 40)
        click.echo("a warning on standard error", err=True)
        click.echo("a line of a callback on standard output")
        simulated.update(41, 50)
        resize(80, 24)
        simulated.fail(seqx.UserError("no room"))

    during, after = screens(work, (80, 24), (80, 24))
    assert during[-3].startswith("step 50/120")
    assert after[-3:] == ["a warning on standard error", "a line of a callback on standard output", ""]


@pytest.mark.promise("terminal-is-left-clean")
def test_terminal_is_clean_if_a_run_ends_without_an_event() -> None:
    def work() -> None:
        terminal = Terminal()
        terminal.print_line("kept")
        terminal.draw(lambda width, _: [Text(f"{width} cells")] * 3)
        del terminal

    assert screens(work, (80, 24)) == [["kept", ""]]


def test_long_outputs_are_shown_from_their_first_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = simulation(tmp_path, monkeypatch)
    tree = f"(TOP (S {'(NN word) ' * 30}(PP (IN in) (NN house)) {'(NN end) ' * 30}))"
    answer = seqx.Answer(input="word", output=tree.replace("(PP", "(ADVP"), reference=tree)

    def work() -> None:
        simulated.start()
        simulated.update(1, 40)
        scores = evaluation_with(20.0).scores
        simulated.evaluate(40, evaluation=seqx.Evaluation(scores=scores, answers=[answer]))
        simulated.update(41, 60)
        resize(40, 24)
        simulated.fail(KeyboardInterrupt())

    during, _ = screens(work, (40, 24), (40, 24))
    view = "\n".join(during)
    assert "\noutput     … " in view
    assert "\nreference  … " in view
    assert "(ADVP (IN" in view
    assert "(PP (IN" in view
    assert "..." not in view
    assert ".…" not in view
    assert all(len(row) <= 40 for row in during)


def test_best_score_has_a_row_of_its_own_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = simulation(tmp_path, monkeypatch)

    during, _ = screens(partial(interrupt_run, simulated, 40), (40, 24), (40, 24))
    start = during.index("dev bleu 20.00 ▁")
    assert during[start + 1].startswith("best 20.00 at step 40")
