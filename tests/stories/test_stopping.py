"""Signals at any point of a run: the run saves, stops, and resumes bitwise equal to an uninterrupted run."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seqx as seqx_api
from benchmarks.run_differences import differences
from seqx.cli import main
from seqx.data import prepare
from seqx.inference.decoding import BatchDecoder
from seqx.storage import state_dict
from seqx.training import selection
from seqx.training.ema import Average
from seqx_text import SentencePiece
from seqx_watch import Metrics
from tests import forked
from tests.core.runtime.test_printing import failing_stream
from tests.forked import Forked
from tests.stories.tiny import TINY, done, lines, seqx, tiny

TEXT = TINY.replace("average: 2", "average: 2\n  select: best\n  ema: {decay: 0.6}")
TEXT = TEXT.replace("every: 1", "every: 4").replace("beam, size: 3", "greedy")
RUN = Path("runs/tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Path]:
    """Return the folder of an uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(cache))
        patch.chdir(tmp_path_factory.mktemp("whole"))
        done("run", tiny(TEXT))
        yield Path.cwd() / RUN


def send_at_call(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, *signals: signal.Signals
) -> None:
    """Let a call of a function send signals to this process before it does its work."""
    real: Callable[..., object] = getattr(owner, name)
    calls = 0

    def wrapped(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            for number in signals:
                os.kill(os.getpid(), number)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.promise("signals-save-and-stop")
@pytest.mark.parametrize(
    ("by", "owner", "name", "call", "checkpoint"),
    [  # in the first and in the last validation, during a save, the average, the test and the preparation
        (signal.SIGTERM, BatchDecoder, "_inputs", 1, "the checkpoint of update 3 is kept"),
        (signal.SIGUSR1, BatchDecoder, "_inputs", 2, "the checkpoint of update 6 is kept"),
        (signal.SIGTERM, state_dict, "write", 2, "the checkpoint of update 3 is kept"),
        (signal.SIGUSR1, selection, "average", 1, "the checkpoint of update 6 is kept"),
        (signal.SIGTERM, BatchDecoder, "_inputs", 4, "the checkpoint of update 6 is kept"),
        (signal.SIGUSR1, prepare, "_write", 1, "no checkpoint was written yet"),
    ],
)
def test_signal_anywhere_saves_and_stops(
    *, whole: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, checkpoint: str,
    by: signal.Signals, tmp_path: Path,
) -> None:  # fmt: skip
    if owner is prepare:
        monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "cache"))
    recipe = tiny(TEXT)
    with monkeypatch.context() as patch:
        send_at_call(patch, owner, name, call, by)
        result = seqx("run", recipe)
    assert result.exit_code == 75
    message = result.stderr.splitlines()
    assert message[-1] == f"{RUN}: stopped by {by.name}, {checkpoint}; run the same command again to continue"
    assert not list(RUN.glob("checkpoints/.*"))
    log = done("run", recipe)
    assert f"model: {RUN / 'model'}" in log
    assert differences(RUN, whole, saves=False) == []


@pytest.mark.promise("output-errors-keep-exit-code")
@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_signal_stops_a_run_that_cannot_write_its_output(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The reader of the output has exited, as after Ctrl-C with `2>&1 | tee`, or the disk is full."""
    recipe = tiny(TEXT)

    @seqx_api.hookimpl
    def failed(self: Metrics, error: BaseException) -> None:
        print("failed", flush=True)  # noqa: T201
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        send_at_call(patch, Average, "add_weights", 5, signal.SIGINT)
        patch.setattr(Metrics, "failed", failed)
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, failing_stream(number))
        with pytest.raises(SystemExit) as end:
            main(["run", str(recipe)], prog_name="seqx")
    assert end.value.code == 75
    assert (RUN / "checkpoints" / "00000005").is_dir()
    result = seqx("run", recipe)  # a failure to print does not end a run
    assert result.exit_code == 0, result.stderr
    for expected, error in ((0, errno.EPIPE), (2, errno.ENOSPC)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", failing_stream(error))
            with pytest.raises(SystemExit) as end:
                main(["run", str(recipe)], prog_name="seqx")
        assert end.value.code == expected


@pytest.mark.promise("signals-save-and-stop")
@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_run_stopped_after_any_update_resumes_bitwise(
    whole: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Updates without and with a save, with a validation, and the last one."""
    recipe = tiny(TEXT)
    with monkeypatch.context() as patch:
        send_at_call(patch, Average, "add_weights", step, signal.SIGINT)
        result = seqx("run", recipe)
    assert result.exit_code == 75
    checkpoint = f"the checkpoint of update {step} is kept"
    assert (
        result.stderr.splitlines()[-1]
        == f"{RUN}: stopped by SIGINT, {checkpoint}; run the same command again to continue"
    )
    done("run", recipe)
    assert [row["step"] for row in lines(RUN, "start")] == [0, step]
    assert differences(RUN, whole, saves=False) == []


@pytest.mark.promise("second-interrupt-is-immediate")
def test_second_interrupt_is_immediate(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(TEXT)
    with monkeypatch.context() as patch:
        send_at_call(patch, Average, "add_weights", 5, signal.SIGINT, signal.SIGINT)
        result = seqx("run", recipe)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == f"{RUN}: interrupted; run the same command again to continue"
    done("run", recipe)
    assert [row["step"] for row in lines(RUN, "start")] == [0, 4]
    assert differences(RUN, whole) == []


@pytest.mark.promise("stop-then-fewer-steps")
def test_stopped_run_can_end_at_its_last_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint saved at the signal becomes the last one; only callback states and metrics differ."""
    recipe = tiny(TEXT)
    with monkeypatch.context() as patch:
        send_at_call(patch, Average, "add_weights", 5, signal.SIGTERM)
        assert seqx("run", recipe).exit_code == 75
    done("run", recipe, "training.steps=5")
    straight = tiny(recipe.read_text(encoding="utf-8"), "straight.yaml")
    done("run", straight, "training.steps=5")
    states = [f"checkpoints/00000005/states.{kind}" for kind in ("json", "safetensors")]  # of callbacks
    assert differences(RUN, Path("runs/straight"), saves=False) == [*states, "metrics.jsonl"]


def test_run_stopped_in_its_last_validation_can_get_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pending validation of the former last update is dropped, because it is no longer due."""
    recipe = tiny(TEXT.replace("validate_every: 3", "validate_every: 4").replace("every: 4}", "every: 1}"))
    with monkeypatch.context() as patch:
        send_at_call(patch, BatchDecoder, "_inputs", 2, signal.SIGTERM)
        assert seqx("run", recipe).exit_code == 75
    done("run", recipe, "training.steps=9")
    assert [row["step"] for row in lines(RUN, "evaluation")] == [4, 8, 9, 9, 9]
    straight = tiny(recipe.read_text(encoding="utf-8"), "straight.yaml")
    done("run", straight, "training.steps=9")
    assert differences(RUN, Path("runs/straight"), saves=False) == []


SEND_AT_IMPORT = """\
import os, signal, sys

class SendSignal:
    def find_spec(self, name, path=None, target=None):
        if name == "{when}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{by})

sys.meta_path.insert(0, SendSignal())
"""
CALL_SEQX = "from seqx.cli import main; main(sys.argv[1:])"


@pytest.mark.promise("signals-save-and-stop")
@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signal_while_modules_are_imported(by: str) -> None:
    """Importing modules takes seconds, before the recipe is read."""
    code = SEND_AT_IMPORT.format(when="torch", by=by) + CALL_SEQX
    command = [sys.executable, "-c", code, "run", str(tiny(TEXT))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        75,
        f"stopped by {by}; run the same command again to continue\n",
    )
    assert not RUN.exists()


def send_at_import_of_plugin() -> None:
    """Let this process import a plugin again, and get SIGTERM when it does."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "seqx_translation"]:
        del sys.modules[name]
    exec(SEND_AT_IMPORT.format(when="seqx_translation", by="SIGTERM"), {})


@pytest.mark.promise("signals-save-and-stop")
def test_signal_while_a_plugin_is_imported() -> None:
    ended = forked.run("run", tiny(TEXT), before=send_at_import_of_plugin)
    assert (ended.returncode, ended.stderr) == (
        75,
        "stopped by SIGTERM; run the same command again to continue\n",
    )
    assert not RUN.exists()


def learn_for_minutes() -> None:
    """Replace the learning of the vocabulary by a call that takes minutes."""

    def learn(*_: object) -> None:
        print("learning", flush=True)  # noqa: T201
        time.sleep(300)

    SentencePiece.learn = learn  # type: ignore[method-assign, assignment]


@pytest.mark.promise("signals-during-vocabulary")
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_a_library_trains_the_vocabulary(by: signal.Signals, tmp_path: Path) -> None:
    """SentencePiece works in C++, where Python handles no signal."""
    process = Forked(
        ["run", tiny(TEXT)],
        before=learn_for_minutes,
        env={**os.environ, "SEQX_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        while "learning" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(by)
        began = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - began < 10
    finally:
        process.kill()
    assert process.returncode == 75
    message = (
        f"{RUN}: stopped by {by.name}, no checkpoint was written yet; run the same command again to continue"
    )
    assert errors.splitlines()[-1] == message
    assert not list((tmp_path / "cache").glob(".*.part"))


@pytest.mark.promise("signals-during-vocabulary")
def test_signal_to_one_rank_while_the_vocabulary_is_trained(tmp_path: Path) -> None:
    """The other rank does not report it as dead."""
    recipe = tiny(TEXT)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    common = {**os.environ, "SEQX_CACHE": str(tmp_path / "cache"), **group}
    processes = [
        Forked(
            ["run", recipe, "--device", "cpu"],
            before=learn_for_minutes,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        assert processes[0].stdout is not None
        while "learning" not in processes[0].stdout.readline():
            assert processes[0].poll() is None
        processes[0].send_signal(signal.SIGTERM)
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [75, 75], "\n".join(errors)
    assert "stopped by SIGTERM, no checkpoint was written yet" in errors[0]
    assert "sign of life" not in "".join(errors)


@pytest.mark.promise("signals-save-and-stop")
def test_signal_saves_and_stops_within_twenty_seconds() -> None:
    """The signal goes to a separate process."""
    recipe = tiny(TEXT.replace("steps: 6", "steps: 100000"))
    process = Forked(["run", recipe], stderr=subprocess.PIPE, text=True)
    try:
        while not (RUN / "checkpoints" / "00000002").is_dir():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, output = process.communicate(timeout=60)
        assert time.monotonic() - began < 20
    finally:
        process.kill()
    assert process.returncode == 75
    assert output.splitlines()[-1].startswith(f"{RUN}: stopped by SIGTERM, the checkpoint of update ")
