"""Runs with several processes, started by `seqx run --devices` and torchrun."""

import contextlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seqx.parallel.launch import launch
from tests import forked
from tests.stories.tiny import TINY, done, lines, seqx, tiny

pytestmark = pytest.mark.promise("launchers-agree")

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "training.schedule.peak=1e-3",
    "model.encoder.dropout=0",
    "model.decoder.dropout=0",
    "search={type: greedy, ratio: 0.2, extra: 2}",
    "training.steps=3",
)
NEVER = [f"training.{name}=100000" for name in ("steps", "validate_every", "save_every")]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("seqx.parallel.heartbeat.GRACE_S", 1.0)


def start_rank_1_as_new_program() -> None:
    """Let this fork start rank 1 as a new Python process, and rank 0 as a fork."""

    def start(args: list[str], **options: Any) -> "subprocess.Popen[Any]":
        start_process = forked.Popen if options["env"]["RANK"] == "1" else forked.ForkedIfSeqx
        return start_process(args, **options)

    vars(subprocess)["Popen"] = start


@contextlib.contextmanager
def endless(text: str, file: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a run of two processes that does not end, and wait until it has written a file."""
    command = ["run", str(tiny(text)), "--folder", "two", "--devices", "2", "--device", "cpu"]
    with forked.Forked([*command, *SETTINGS[:-1], *NEVER], stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not file.is_file() and time.monotonic() < end:
            time.sleep(0.1)
        yield process


@pytest.mark.promise("signal-to-launcher")
def test_signal_to_the_launcher_stops_all_ranks_and_the_run_resumes() -> None:
    with endless(TINY, Path("two", "data.json")) as process:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[1]
    assert process.returncode == 75, output
    assert re.search(
        r"^two: stopped by SIGTERM, .*; run the same command again to continue$", output, re.MULTILINE
    ), output
    assert "Traceback" not in output
    assert not re.search(r"^W\d{4} ", output, re.MULTILINE)
    (checkpoint,) = Path("two", "checkpoints").glob("0*")
    two_more_updates = f"training.steps={int(checkpoint.name) + 2}"
    command = ["run", "tiny.yaml", "--folder", "two", "--devices", "2", "--device", "cpu", *SETTINGS[:-1]]
    again = forked.run(*command, *NEVER[1:], two_more_updates)
    assert again.returncode == 0, again.stderr
    assert scores("two").keys() == {"dev", "test"}


SLOW_END = """\
import time
from pathlib import Path

import seqx


class SlowEnd(seqx.Callback):
    \"\"\"A callback that needs longer to end than other ranks wait for a rank that failed.\"\"\"

    @seqx.hookimpl
    def failed(self, error) -> None:
        time.sleep(3)
        Path("ended").touch()


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, slow_end=SlowEnd)
"""


@pytest.mark.promise("signal-to-launcher")
def test_signal_to_the_launcher_lets_rank_0_end_slowly() -> None:
    Path("slow_end.py").write_text(SLOW_END, encoding="utf-8")
    recipe = "plugins: [slow_end.py]\n" + TINY.replace("callbacks: [", "callbacks: [slow_end, ")
    with endless(recipe, Path("two", "data.json")) as process:
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[1]
    assert process.returncode == 75, output
    assert Path("ended").is_file()
    assert "two: stopped by SIGTERM, " in output


SLOW = """\
import os
import time
from pathlib import Path

import seqx


class Slow(seqx.Callback):
    \"\"\"A callback that lets rank 0 sleep after the third update.\"\"\"

    @seqx.hookimpl
    def updated(self, update) -> None:
        if update.step == 3:
            Path("pid").write_text(str(os.getpid()))
            time.sleep(300)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, slow=Slow)
"""


def slow() -> str:
    """Return a recipe with the callback `slow`."""
    Path("slow.py").write_text(SLOW, encoding="utf-8")
    return "plugins: [slow.py]\n" + TINY.replace("callbacks: [", "callbacks: [slow, ")


@pytest.mark.promise("second-interrupt-of-launcher")
def test_second_interrupt_of_the_launcher_is_immediate() -> None:
    with endless(slow(), Path("pid")) as process:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)[1]
    assert process.returncode == 130, output


@pytest.mark.promise("rank-killed-while-stopping")
def test_rank_killed_while_stopping_is_named() -> None:
    with endless(slow(), Path("pid")) as process:
        process.send_signal(signal.SIGTERM)
        killed = int(Path("pid").read_text(encoding="utf-8"))
        os.kill(killed, signal.SIGKILL)
        output = process.communicate(timeout=60)[1]
    assert process.returncode == 137, output
    assert (
        f"rank 0 (pid {killed}) was killed by SIGKILL (perhaps because the machine ran out of memory); run "
        "the same command again to resume\n"
    ) in output


@pytest.mark.promise("killed-rank")
def test_log_of_a_launched_run_ends_with_the_killed_rank() -> None:
    with endless(slow(), Path("pid")) as process:
        children = (
            Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        )
        (killed,) = {*map(int, children)} - {int(Path("pid").read_text(encoding="utf-8"))}
        os.kill(killed, signal.SIGKILL)
        output = process.communicate(timeout=60)[1]
    assert process.returncode == 137, output
    message = output.splitlines()[-1]
    assert message.startswith(f"rank 1 (pid {killed}) was killed by SIGKILL")
    log = Path("two/log.txt").read_text(encoding="utf-8").splitlines()
    assert log[-1] == f"failed: UserError: {message}"


@pytest.mark.promise("launcher-is-gone")
def test_ranks_end_when_the_launcher_is_gone() -> None:
    with endless(slow(), Path("pid")) as process:
        process.kill()
        output = process.communicate(timeout=30)[1]  # after all processes have closed standard error
    assert (
        output.count(
            "which started this run, has ended, so all ranks end; run the same command again to resume\n"
        )
        == 1
    )
    assert "which started this run, has ended" in Path("two/log.txt").read_text(encoding="utf-8")


def scores(folder: str) -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(Path(folder, "model", "scores.json").read_text(encoding="utf-8"))


def test_two_devices_give_the_same_scores_as_one() -> None:
    recipe = str(tiny())
    one = seqx("run", recipe, "--folder", "one", *SETTINGS)
    two = forked.run(
        *("run", recipe, "--folder", "two", "--devices", "2", "--device", "cpu", *SETTINGS),
        before=start_rank_1_as_new_program,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
    )

    assert one.exit_code == two.returncode == 0, two.stderr
    assert two.stdout == one.stdout.replace("one/model", "two/model")
    assert scores("two") == scores("one")
    assert "Traceback" not in two.stderr
    assert "Warning" not in two.stderr


@pytest.mark.promise("one-message-for-all-ranks")
def test_launcher_prints_an_error_of_all_ranks_once() -> None:
    """Rank 0 finds the error while rank 1 waits."""
    recipe = str(tiny())
    Path("taken").mkdir()
    Path("taken", "thesis.txt").touch()
    result = forked.run("run", recipe, "--folder", "taken", "--devices", "2", "--device", "cpu")

    assert result.returncode == 2
    assert (
        result.stderr == "taken: has no run, but other files (thesis.txt); choose another folder (--folder)\n"
    )


def test_launcher_checks_the_recipe_before_it_starts_ranks() -> None:
    recipe = str(tiny(TINY.replace("tokens: 300", "tokens: none")))
    assert seqx("run", recipe, "--devices", "2").exit_code == 2


NARROW = """\
import torch
import seqx
from seqx_training import CrossEntropy


class Narrow(CrossEntropy):
    \"\"\"Cross-entropy that runs out of memory in batches of more than `most` sentences; not on rank 0.\"\"\"

    def __init__(self, *, most: int) -> None:
        super().__init__(smoothing=0.1)
        self.most = most

    def forward(self, model, batch):
        if len(batch.columns["target"].values) > self.most and torch.distributed.get_rank():
            raise torch.OutOfMemoryError("injected")
        return super().forward(model, batch)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Objective, narrow=Narrow)
"""


def by_devices(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run("run", "--devices", "2", *arguments)


def find_no_modules() -> None:
    """Let `inspect` find no module of a stack frame; torchrun would search all imported modules."""
    vars(inspect)["getmodule"] = lambda *_: None


def by_torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--nproc-per-node", "2", "--max-restarts", "4", "-m", "seqx")
    command = (sys.executable, "-m", "torch.distributed.run", *options, "run", *arguments)
    return forked.run(*command, before=find_no_modules)


def narrow_recipe(most: int) -> str:
    """Write the recipe of a run that has memory for `most` sentences per batch; return its name."""
    Path("narrow.py").write_text(NARROW, encoding="utf-8")
    objective = f"type: narrow, most: {most}"
    text = TINY.replace("type: cross_entropy, smoothing: 0.1", objective)
    return str(tiny(f"plugins: [narrow.py]\n{text}", f"narrow_{most}.yaml"))


SHARDED = (*SETTINGS, "training.parallel=fsdp", "--device", "cpu")


@pytest.fixture(scope="module")
def ample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run on one device with enough memory."""
    folder = tmp_path_factory.mktemp("ample")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        done("run", narrow_recipe(99), "--folder", "run", *SETTINGS)
    return folder / "run"


@pytest.mark.promise("out-of-memory-with-shards")
@pytest.mark.parametrize("start", [by_devices, by_torchrun])
def test_out_of_memory_with_shards_restarts_with_smaller_microbatches(
    start: Callable[..., subprocess.CompletedProcess[str]], ample: Path
) -> None:
    result = start(narrow_recipe(4), "--folder", "limited", *SHARDED)

    assert result.returncode == 0, result.stderr
    messages = re.findall(r"^(.*) cpu is out of memory with|^(resumed.*)", result.stderr, re.MULTILINE)
    assert messages == [("update 1:", ""), ("update 3:", ""), ("", "resumed from update 2")]
    losses = [[row["loss"] for row in lines(run, "update")] for run in (ample, Path("limited"))]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert scores("limited") == scores(str(ample))
    assert result.stdout.count("model: limited/model\n") == 1


@pytest.mark.parametrize(("own", "threads"), [(None, "3"), ("2", "2")])
def test_ranks_share_the_cpus(own: str | None, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads_of_ranks: list[str] = []

    class Process:
        returncode = 0

        def __init__(self, _: object, *, env: dict[str, str], **__: object) -> None:
            threads_of_ranks.append(env["OMP_NUM_THREADS"])

        def poll(self) -> int:
            return 0

        def wait(self) -> int:
            return 0

    monkeypatch.delenv("OMP_NUM_THREADS")
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    monkeypatch.setattr("seqx.parallel.launch.cpus", lambda: 7)
    monkeypatch.setattr("seqx.parallel.launch.subprocess.Popen", Process)
    assert launch(["run"], 2) == (0, None)
    assert threads_of_ranks == [threads, threads]
