"""Run the trials of a sweep in processes of their own."""

import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import seqx
from seqx_runs.sweep_state import TrialState, ValidationPoll, dev_score, rank_key
from seqx_runs.sweep_time import RemainingTime
from seqx_runs.sweep_trials import Configuration, Sweep, Trial

_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1


@dataclass(eq=False)
class Runner:
    """A runner of trials, some at the same time.

    Args:
        jobs: number of trials at the same time
        device: the device, as in `seqx run`
        report: called with a line about each trial that starts or ends
        gpus: number of GPUs that this process sees; each trial uses one
    """

    jobs: int
    device: str
    report: Callable[[str], None]
    gpus: int = 0
    failed: dict[Trial, str] = field(default_factory=dict)
    """The last line of the log of each trial that failed."""
    _stop_request: seqx.StopRequest = field(default_factory=seqx.StopRequest, init=False)
    _lock: int = field(default=-1, init=False)  # descriptor of the lock, which the trials inherit

    def run(self, sweep: Sweep, steps: int) -> dict[Configuration, int]:
        """Run all trials, with successive halving if the sweep requests it.

        A signal stops the trials; the same call resumes them.

        Args:
            sweep: the sweep
            steps: the largest number of updates of a trial

        Returns:
            the configurations that were stopped early, with the numbers of updates

        Raises:
            UserError: another sweep, or one of its trials, uses the folder
            KeyboardInterrupt: a signal stopped the trials, and each saved a checkpoint; or a second Ctrl-C
                killed them
        """
        stopped: dict[Configuration, int] = {}
        with (
            _sweep_lock(sweep.folder) as self._lock,
            self._stop_request.handling_signals(),
            self._stop_request.deferred(),
        ):
            for step in halving_steps(sweep, steps):
                self._run_until([each for each in sweep.trials if each.configuration not in stopped], step)
                stopped |= stopped_at(sweep, stopped, step)
            self._run_until([each for each in sweep.trials if each.configuration not in stopped], None)
        return stopped

    def _run_until(self, trials: Iterable[Trial], step: int | None) -> None:
        """Run trials until the validation of a step; None: until they are finished."""
        waiting = deque(trial for trial in trials if trial not in self.failed and not _is_done(trial, step))
        running: dict[Trial, subprocess.Popen[bytes]] = {}
        slots: dict[Trial, int] = {}
        paused: set[Trial] = set()
        poll = None if step is None else ValidationPoll(step=step)
        log_starts: dict[Trial, int] = {}
        started: dict[Trial, float] = {}
        resumed: set[Trial] = set()
        time_left = RemainingTime(jobs=self.jobs, until="" if step is None else "until the next comparison")
        total = len(waiting)
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    self._stop_request.raise_if_requested()
                    trial = waiting.popleft()
                    slots[trial] = min({*range(self.jobs)} - {slots[each] for each in running})
                    log_starts[trial] = trial.log.stat().st_size if trial.log.exists() else 0
                    verb = "resumed" if trial.is_resumable else "started"
                    started[trial] = time.monotonic()
                    with suppress(seqx.UserError):  # the trial reports it
                        _ = trial.checked  # loaded before it starts, if it was not before
                    if trial.is_resumable:
                        resumed.add(trial)
                    running[trial] = start(trial, self.device, self._environment(slots[trial]), self._lock)
                    _record_running(self._lock, running)
                    self.report(
                        f"[{total - len(waiting)}/{total}] {trial}: {verb}; its output is in {trial.log}"
                    )
                self._stop_request.raise_if_requested()
                for trial, process in [*running.items()]:
                    if process.poll() is not None:
                        del running[trial]
                        _record_running(self._lock, running)
                        last_line = _last_line(trial, log_starts[trial])
                        now = time.monotonic()
                        if process.returncode == 0 or trial in paused:
                            time_left.add(now - started[trial], was_resumed=trial in resumed)
                        left = time_left.text([now - started[each] for each in running], len(waiting))
                        self._report_end(
                            trial, process.returncode, last_line, left, was_paused=trial in paused
                        )
                    elif poll is not None and trial not in paused and poll.is_validated(trial.folder):
                        paused.add(trial)
                        process.terminate()  # it saves a checkpoint
                time.sleep(_POLL_S)
        finally:
            if running:
                count = f"{len(running)} trials; each" if len(running) > 1 else "1 trial; it"
                self.report(f"stopping {count} saves a checkpoint")
            _stop(running.values())

    def _report_end(self, trial: Trial, code: int, last_line: str, left: str, *, was_paused: bool) -> None:
        if code == 0:
            self.report(f"{trial}: finished{_test_score(trial)}{left}")
        elif was_paused and code == os.EX_TEMPFAIL:
            self.report(f"{trial}: paused until it is compared with the others{left}")
        else:
            self.failed[trial] = last_line or f"exit code {code}"
            self.report(f"{trial}: failed: {self.failed[trial]}{left}")

    def _environment(self, slot: int) -> Mapping[str, str]:
        """Return the environment variables that divide the CPUs and GPUs between trials."""
        if self.jobs == 1:
            return {}
        threads = max(1, len(os.sched_getaffinity(0)) // self.jobs)
        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        if self.gpus > 1 and self.device in ("auto", "cuda"):
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            variables["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % self.gpus].strip()
        return variables


def halving_steps(sweep: Sweep, steps: int) -> Iterator[int]:
    """Yield the numbers of updates below `steps` after which successive halving stops trials."""
    if sweep.halving is not None:
        step = sweep.halving.steps
        while step < steps:
            yield step
            step *= sweep.halving.factor


def stopped_at(sweep: Sweep, before: Mapping[Configuration, int], step: int) -> Mapping[Configuration, int]:
    """Return the configurations that successive halving stops at a step: all but the best and the baseline.

    The score of a configuration is the mean over its trials on the development set; trials that failed are
    left out. A trial that finished earlier, because of `training.patience`, has its last score.

    Args:
        sweep: the sweep
        before: the configurations that were stopped before
        step: the number of updates
    """
    assert sweep.halving is not None
    configurations = [each for each in sweep.configurations if each not in before]
    keys = {
        each: rank_key(
            [
                dev_score(trial.folder, step, is_finished=TrialState.read(trial).finished)
                for trial in sweep.of(each)
            ]
        )
        for each in configurations
    }
    count = math.ceil(len(configurations) / sweep.halving.factor)
    best = sorted(configurations, key=keys.__getitem__, reverse=True)[:count]
    return {each: step for each in configurations if each not in best and each is not sweep.baseline}


def stopped_so_far(sweep: Sweep, steps: int) -> Mapping[Configuration, int]:
    """Return the configurations that were stopped, with the numbers of updates, from their run folders."""
    stopped: dict[Configuration, int] = {}
    for step in halving_steps(sweep, steps):
        remaining = [trial for trial in sweep.trials if trial.configuration not in stopped]
        if not all(_is_done(trial, step) or TrialState.read(trial).failure for trial in remaining):
            break
        stopped |= stopped_at(sweep, stopped, step)
    return stopped


@contextmanager
def _sweep_lock(folder: Path) -> Iterator[int]:
    """Lock the folder of a sweep; yield the descriptor of the lock, which trials inherit.

    Raises:
        UserError: another sweep uses the folder, or a trial of a sweep that was killed is not yet finished
    """

    def refuse() -> None:
        """Raise an error that names the trials whose processes, recorded in the lock file, still exist."""
        try:
            recorded: dict[str, int] = json.loads((folder / ".lock").read_bytes() or "{}")
        except ValueError:
            return  # an earlier version of seqx has the lock
        running = [name for name, number in recorded.items() if _exists(number)]
        if running:
            trials = "trials" if len(running) > 1 else "trial"
            raise seqx.UserError(
                f"{folder}: the {trials} {'; '.join(running)} of another sweep in this folder still "
                f"{'run' if len(running) > 1 else 'runs'}; wait for it, or choose another folder (--folder)"
            )

    with seqx.folder_lock(folder, "sweep", on_conflict=refuse) as lock:
        _record_running(lock, {})
        yield lock


def _record_running(lock: int, running: Mapping[Trial, "subprocess.Popen[bytes]"]) -> None:
    """Write the process numbers and names of the trials that run into the lock file."""
    os.ftruncate(lock, 0)
    os.write(lock, json.dumps({str(trial): process.pid for trial, process in running.items()}).encode())


def _exists(process: int) -> bool:
    """Return true if there is a process with this number."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def start(trial: Trial, device: str, environment: Mapping[str, str], lock: int) -> "subprocess.Popen[bytes]":
    """Start or resume a trial in a session of its own, which Ctrl-C in a terminal does not reach.

    The trial inherits the lock of the sweep: if the sweep is killed, the folder is locked until the trial has
    saved its checkpoint and ended.
    """
    trial.log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "seqx", "run", *trial.arguments, "--folder", str(trial.folder)]
    with trial.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  seqx itself
            [*command, "--device", device],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock],
            preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  no threads here
        )


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when the sweep is killed, so that it saves and exits."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _is_done(trial: Trial, step: int | None) -> bool:
    """Return true if the trial is finished, or if it was validated at this step."""
    if step is not None and trial.folder.is_dir() and dev_score(trial.folder, step) is not None:
        return True
    return TrialState.read(trial).finished


def _stop(processes: Iterable["subprocess.Popen[bytes]"]) -> None:
    """Let processes save and end; a second Ctrl-C kills them."""
    running = [*processes]
    try:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    except KeyboardInterrupt:
        for process in running:
            process.kill()
        raise


def _test_score(trial: Trial) -> str:
    """Return a text with the first score of the test set, if there is one."""
    row = TrialState.read(trial).row
    scores = {} if row is None else row["scores"].get("test", {})
    return next((f", test {name} {score['value']:.2f}" for name, score in scores.items()), "")


def _last_line(trial: Trial, log_start: int) -> str:
    """Return the last line that is not blank after the first `log_start` bytes of the log of a trial."""
    if not trial.log.exists():
        return ""
    with trial.log.open("rb") as log:
        log.seek(log_start)
        lines = log.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")
