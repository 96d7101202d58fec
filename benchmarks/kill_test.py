"""Runs that are killed at random times and resumed, compared with uninterrupted runs.

    python -m benchmarks.kill_test --kills 50 --saves 10 --stops 20 --full 10 --out kill_test.json

Short runs of translation and parsing on the generated sample, and runs that fine-tune the model of
translation, are killed by SIGKILL and started again with the same command. A run takes more than an epoch. It
uses a moving average of the weights, validation, selection of the best checkpoint, and metrics over three
updates.

- `--kills`: this number of kills happens at times that are uniformly distributed over a run, from preparation
  to test.
- `--saves`: at least this number of them happens during a save. Such a kill waits for the temporary folder of
  the save, and counts if the folder still exists after the kill.
- `--stops`: at least this number of starts is stopped by SIGTERM at such times. Such a start must end with
  exit code 75, or finish.
- `--full`: this number of further kills happens on a small disk (a tmpfs, which needs root). When the disk is
  full, the run must stop with exit code 2 and one message, and resume after the disk has grown.

Each finished run is compared with the uninterrupted run, bit by bit (`run_differences.py`). The killed
processes are forks of a process that has imported everything, so that no kill hits the start of Python. The
exit code is 1 if a run differs.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.paths import output_file
from benchmarks.provenance import provenance
from benchmarks.run_differences import differences
from seqx import markdown_table
from seqx.cli import main as seqx
from seqx.storage.checkpoints import Checkpoints

TRAINING = """\
training:
  steps: 26
  tokens: 300
  objective: {type: cross_entropy, smoothing: 0.1}
  optimizer: {type: adam, betas: [0.9, 0.98], eps: 1e-9}
  schedule: {type: inverse_square_root, warmup: 4, peak: 3e-2}
  precision: fp32
  validate_every: 4
  save_every: 2
  keep_checkpoints: 2
  average: 2
  select: best
  ema: {decay: 0.6}
callbacks: [progress, {type: metrics, every: 3}]
"""
RECIPES = {
    "translation": """\
task:
  type: translation
  corpus: {type: sample, train: 120, dev: 4, test: 4}
  tokenizer: {type: sentencepiece, model: bpe, size: 340}
  metrics: [chrf]
  max_length: 99
model:
  type: encoder_decoder
  d_model: 16
  tie_embeddings: all
  encoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
  decoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
search: {type: beam, size: 2, extra: 4}
""",
    "parsing": """\
task:
  type: parsing
  corpus: {type: sample, columns: [tree], train: 120, dev: 3, test: 3}
  tokenizer: {type: sentencepiece, model: unigram, size: 340}
  linearisation: top_down
  tags: predicted
  metrics: [evalb]
model:
  type: tagging
  inner:
    type: encoder_decoder
    d_model: 16
    encoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
    decoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
search: {type: beam, size: 2, ratio: 2, extra: 10}
""",
}
_INITIAL = "MODEL"  # in a recipe: the folder of the uninterrupted run of translation
RECIPES["extension"] = RECIPES["translation"].replace("size: 340", "size: 340, symbols: [<2fr>, <2de>]")
RECIPES["fine-tuning"] = RECIPES["translation"]
INITIAL_MODELS = {
    "extension": "{model: MODEL, vocabulary: extend, freeze: [encoder]}",
    "fine-tuning": "{model: MODEL, reset_optimizer: false, freeze: ['*.norm.*']}",
}
"""The setting `training.init_from` of the runs that fine-tune; both score the old test set, too."""

TIME_LIMIT = 120  # seconds for one start
MAX_STARTS = 60  # of one run


@dataclass
class Outcome:
    """The counts of all runs."""

    kills: int = 0
    stops: int = 0  # starts that SIGTERM stopped
    inside_saves: int = 0  # kills after which a temporary folder existed
    on_full_disks: int = 0  # kills on small disks
    full: int = 0  # starts that stopped because the disk was full
    runs: int = 0  # finished runs
    different: list[str] = field(default_factory=list)  # files that differ from the uninterrupted run
    wrong: list[str] = field(default_factory=list)  # starts with a wrong exit code or message
    phases: dict[str, int] = field(default_factory=dict)  # number of kills by phase of the run
    undisturbed: dict[str, dict[str, Any]] = field(default_factory=dict)  # progress of the uninterrupted runs


class Command:
    """One start of `seqx run`, in a forked process."""

    def __init__(self, recipe: Path, folder: Path, cache: Path) -> None:
        self.log = folder.with_suffix(".log")
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(recipe, folder, cache)
        self.code: int | None = None

    def has_ended(self) -> bool:
        """Return true if the process has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def kill(self) -> None:
        """Kill the process by SIGKILL, which it cannot handle."""
        os.kill(self.pid, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def stop(self) -> int:
        """Stop the process by SIGTERM, and return its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def _run(self, recipe: Path, folder: Path, cache: Path) -> None:
        """Run the command in the forked process, and exit."""
        code = 1
        try:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.environ["SEQX_CACHE"] = str(cache)
            torch.set_num_threads(1)
            seqx(["run", str(recipe), "--folder", str(folder)], standalone_mode=True)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)


class KillTest:
    """Kills runs of one recipe, and compares them with its uninterrupted run."""

    def __init__(self, name: str, parent: Path, rng: random.Random, outcome: Outcome) -> None:
        self.name, self.parent, self.rng, self.outcome = name, parent, rng, outcome
        self.recipe = parent / f"{name}.yaml"
        text = RECIPES[name] + TRAINING
        if initial := INITIAL_MODELS.get(name, "").replace(_INITIAL, str(parent / "translation-whole")):
            text = text.replace("training:\n", f"training:\n  init_from: {initial}\n")
        self.recipe.write_text(text, encoding="utf-8")
        self.uninterrupted = parent / f"{name}-whole"
        self._was_stopped = False
        start_time = time.monotonic()
        self._wait(Command(self.recipe, self.uninterrupted, parent / "cache-whole"))
        self.seconds = time.monotonic() - start_time
        progress = Checkpoints(self.uninterrupted / "checkpoints").progress()
        assert progress is not None, "the run is finished"
        outcome.undisturbed[name] = {"took": round(self.seconds, 1), **asdict(progress)}

    def run(
        self, kills: int, saves: int, folder: Path, *, stops: int = 0, disk: "Disk | None" = None
    ) -> None:
        """Run to the end, with up to `kills` kills, up to `saves` of them during a save.

        Args:
            kills: largest number of kills
            saves: largest number of kills that wait for a save
            folder: run folder
            stops: largest number of starts that are stopped by SIGTERM, in turn with kills
            disk: the small disk that contains the folder; None: enough space
        """
        self._was_stopped = False
        cache = self.parent / "cache"
        shutil.rmtree(cache, ignore_errors=True)  # so that preparation may be killed, too
        shutil.rmtree(folder, ignore_errors=True)
        for start in range(MAX_STARTS):
            before = set(_temporary_folders(folder))  # left by earlier kills; a start removes them
            command = Command(self.recipe, folder, cache)
            during_save = saves > 0 and kills > 0
            # A resumed run is shorter; half the time of a whole run covers most of it.
            kill_time = time.monotonic() + self.rng.uniform(0, self.seconds * (0.5 if start else 1.0))
            by_stop = stops > 0 and start % 2 == 1
            while not command.has_ended() and (kills > 0 or by_stop):
                if by_stop and time.monotonic() > kill_time:
                    if self._stop(command, folder):
                        return
                    stops -= 1
                    break
                if not by_stop and (
                    set(_temporary_folders(folder)) - before if during_save else time.monotonic() > kill_time
                ):
                    time.sleep(self.rng.uniform(0, 0.008) if during_save else 0)
                    command.kill()
                    inside = bool(set(_temporary_folders(folder)) - before)
                    self.outcome.kills += 1
                    self.outcome.inside_saves += inside
                    self.outcome.on_full_disks += disk is not None
                    phase = _phase(folder)
                    self.outcome.phases[phase] = self.outcome.phases.get(phase, 0) + 1
                    kills, saves = kills - 1, saves - inside
                    break
                time.sleep(0.0002 if during_save else 0.002)
            else:
                if self._is_finished(command, folder, disk):
                    return
        self.outcome.wrong.append(f"{self.name}: not finished after {MAX_STARTS} starts")

    def _stop(self, command: Command, folder: Path) -> bool:
        """Stop a start by SIGTERM; return true if the run has finished meanwhile."""
        if command.stop() == 0:
            return self._is_finished(command, folder, None)
        self._was_stopped = True
        self.outcome.stops += 1
        if command.code != 75:
            self.outcome.wrong.append(f"{self.name}: SIGTERM ended a run with exit code {command.code}")
        return False

    def _is_finished(self, command: Command, folder: Path, disk: "Disk | None") -> bool:
        """Wait for a start; return false, and grow the disk, if the disk was full."""
        message = self._wait(command, may_be_full=disk is not None)
        if message is not None and disk is not None:
            self.outcome.full += 1
            if any(_temporary_folders(folder)):
                self.outcome.wrong.append(f"{self.name}: a full disk left a temporary folder: {message}")
            disk.grow()
            return False
        if command.code == 0:
            self.outcome.runs += 1
            self.outcome.different += [
                f"{self.name}: {name}"
                for name in differences(folder, self.uninterrupted, saves=not self._was_stopped)
            ]
        return True

    def _wait(self, command: Command, *, may_be_full: bool = False) -> str | None:
        """Wait for a start; return its last line if it stopped because the disk was full."""
        limit = time.monotonic() + TIME_LIMIT
        while not command.has_ended():
            if time.monotonic() > limit:
                command.kill()
            time.sleep(0.01)
        output = command.log.read_text(encoding="utf-8", errors="replace")
        last = (output.splitlines() or [""])[-1]
        if may_be_full and command.code == 2 and ("No space left" in last or "disk full" in last):
            return last
        if command.code != 0 or "Traceback" in output:
            self.outcome.wrong.append(f"{self.name}: exit code {command.code}: {last}")
        return None


class Disk:
    """A small file system in memory (tmpfs) that can grow."""

    def __init__(self, folder: Path, size: int, step: int) -> None:
        self.folder, self.size, self.step = folder, size, step
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))

    def grow(self) -> None:
        """Increase the size by `step` bytes."""
        self.size += self.step
        _mount("-o", f"remount,size={self.size}", str(self.folder))

    def close(self) -> None:
        """Unmount the file system."""
        subprocess.run(["umount", str(self.folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _temporary_folders(folder: Path) -> Iterator[Path]:
    """Yield the temporary folders of checkpoints and of the model that exist now."""
    with contextlib.suppress(OSError):
        yield from (folder / "checkpoints").glob(".0*")
    with contextlib.suppress(OSError):
        yield from folder.glob(".model.*")


def _phase(folder: Path) -> str:
    """Return the phase in which a run was killed."""
    if (folder / "model").is_dir():
        return "testing"
    steps = sorted(path.name for path in (folder / "checkpoints").glob("0*"))
    if steps:
        return f"after update {int(steps[-1])}"
    return "before the first checkpoint" if (folder / "recipe.yaml").exists() else "preparing"


def _size(folder: Path) -> int:
    """Return the size of all files in bytes, in blocks of 4096."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def kill_runs(
    parent: Path,
    *,
    kills: int,
    saves: int,
    full: int,
    each: int,
    seed: int,
    stops: int = 0,
    recipes: Sequence[str] = tuple(RECIPES),
) -> Outcome:
    """Kill runs of the recipes in turn.

    Args:
        parent: an empty folder
        kills: number of kills
        saves: smallest number of kills during a save
        full: number of further kills on a small disk
        each: largest number of kills of one run
        seed: seed of the times of the kills
        stops: smallest number of starts that SIGTERM stops
        recipes: names of the recipes; fine-tuning needs the run of "translation", which comes before
    """
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
        seqx(["check", "wmt_en_de"])  # imports the modules of a run before the first fork
    outcome, rng = Outcome(), random.Random(seed)  # noqa: S311
    tests = [KillTest(name, parent, rng, outcome) for name in recipes]
    # The names of the folders are those of the uninterrupted runs, because the metrics contain them.
    folders = [parent / test.name / f"{test.name}-whole" for test in tests]
    for folder in folders:
        folder.parent.mkdir()
    turn = 0
    while outcome.kills < kills or outcome.inside_saves < saves or outcome.stops < stops:
        if turn > 4 * kills:
            outcome.wrong.append(f"only {outcome.kills} kills in {turn} runs")
            break
        left = max(kills - outcome.kills, saves - outcome.inside_saves)
        test, folder = tests[turn % len(tests)], folders[turn % len(tests)]
        test.run(
            min(each, left),
            min(each, saves - outcome.inside_saves),
            folder,
            stops=min(each, stops - outcome.stops),
        )
        turn += 1
    for turn in range(4 * full):
        if outcome.on_full_disks >= full:
            break
        test, left = tests[turn % len(tests)], full - outcome.on_full_disks
        size = _size(test.uninterrupted)
        disk = Disk(parent / f"disk{turn}", size * 3 // 4, size // 8)
        try:
            test.run(min(each, left), min(each, left) // 2, disk.folder / f"{test.name}-whole", disk=disk)
        finally:
            disk.close()
    return outcome


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the counts."""
    outcome = record["told"]
    rows = {
        "kills": outcome["kills"],
        "kills during a save": outcome["inside_saves"],
        **({"starts that SIGTERM stopped": outcome["stops"]} if "stops" in outcome else {}),
        "kills on a small disk": outcome["on_full_disks"],
        "starts that stopped with one message because the disk was full": outcome["full"],
        "starts with a wrong exit code or message": len(outcome["wrong"]),
        "finished runs": outcome["runs"],
        "files that differ from the uninterrupted run": len(outcome["different"]),
    }
    yield from markdown_table(["event", "count"], [[name, str(count)] for name, count in rows.items()])


def main() -> None:
    """Kill the runs, print the record and write it."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--kills", type=int, default=50, help="number of kills")
    parser.add_argument("--saves", type=int, default=10, help="smallest number of kills during a save")
    parser.add_argument("--stops", type=int, default=10, help="smallest number of stops by SIGTERM")
    parser.add_argument("--full", type=int, default=10, help="number of further kills on a small disk")
    parser.add_argument("--each", type=int, default=5, help="largest number of kills of one run")
    parser.add_argument("--seed", type=int, default=1, help="seed of the times of the kills")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    options = parser.parse_args()
    start_time = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            name: getattr(options, name) for name in ("kills", "saves", "stops", "full", "each", "seed")
        }
        outcome = kill_runs(Path(folder), **settings)
    record = {
        "asked": settings,
        "told": asdict(outcome),
        "seconds": round(time.monotonic() - start_time, 1),
        **provenance(),
    }
    text = json.dumps(record, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")
    sys.exit(1 if outcome.different or outcome.wrong else 0)


if __name__ == "__main__":
    main()
