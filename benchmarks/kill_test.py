"""Runs that are killed at random moments, and started again until they are done, against one that is not.

    python -m benchmarks.kill_test --kills 50 --saves 10 --full 10 --out kill_test.json

Short runs of translation and of parsing on the embedded sample (more than an epoch, with an average of the
weights, validation that chooses among checkpoints, and metrics summed over three updates) are killed by
SIGKILL: `--kills` times after a time drawn evenly from that of a whole run, preparation to test, of which as
many as `--saves` hit a save: they wait for its temporary folder, and count if that is still there after the
kill. Then `--full` times more on a disk (a tmpfs, which needs root) with hardly room for one run; where it is
full, the run must stop with exit code 2 and one message, and goes on when there is a little more room. The
command is always the same. Each run that comes to its end is compared with the undisturbed one, bit by bit
(`endings.py`).

Processes are forked from one that has imported everything, so that what is killed is seqx at work, not
Python starting. Exit code 1: a run ended differently.
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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.endings import differences
from benchmarks.provenance import provenance
from seqx.cli import main as seqx
from seqx.storage.checkpoints import Checkpoints
from seqx_watch.table import markdown

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
GIVE_UP = 120  # seconds that one start may take
MOST_STARTS = 60  # of one run


@dataclass
class Told:
    """What happened, in all."""

    kills: int = 0
    inside_saves: int = 0  # of these kills: the temporary folder was there after them
    on_full_disks: int = 0  # of these kills
    full: int = 0  # starts that stopped because there was no room
    runs: int = 0  # that came to their end
    different: list[str] = field(default_factory=list)  # what was not as in the undisturbed run
    wrong: list[str] = field(default_factory=list)  # starts that ended as none should
    phases: dict[str, int] = field(default_factory=dict)  # how many kills hit what
    undisturbed: dict[str, dict[str, Any]] = field(default_factory=dict)  # how far those runs came


class Command:
    """One start of the command, in a process of its own."""

    def __init__(self, recipe: Path, folder: Path, cache: Path) -> None:
        self.log = folder.with_suffix(".log")
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._work(recipe, folder, cache)
        self.code: int | None = None

    def ended(self) -> bool:
        """Whether it has, for whatever reason."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def kill(self) -> None:
        """SIGKILL, of which a process does not even hear."""
        os.kill(self.pid, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _work(self, recipe: Path, folder: Path, cache: Path) -> None:
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


class Soak:
    """Kills runs of one recipe."""

    def __init__(self, name: str, place: Path, draw: random.Random, told: Told) -> None:
        self.name, self.place, self.draw, self.told = name, place, draw, told
        self.recipe = place / f"{name}.yaml"
        self.recipe.write_text(RECIPES[name] + TRAINING, encoding="utf-8")
        self.whole = place / f"{name}-whole"
        began = time.monotonic()
        self._to_the_end(Command(self.recipe, self.whole, place / "cache-whole"))
        self.seconds = time.monotonic() - began
        progress = Checkpoints(self.whole / "checkpoints").progress()
        assert progress is not None, "it came to its end"
        told.undisturbed[name] = {"took": round(self.seconds, 1), **asdict(progress)}

    def disturbed(self, kills: int, saves: int, folder: Path, *, grow: "Disk | None" = None) -> None:
        """One run to its end, killed up to so often, up to `saves` of them inside a save."""
        cache = self.place / "cache"
        shutil.rmtree(cache, ignore_errors=True)  # so that preparation is killed, too
        shutil.rmtree(folder, ignore_errors=True)
        for start in range(MOST_STARTS):
            before = set(_saving(folder))  # left by an earlier kill, removed some time after the start
            command = Command(self.recipe, folder, cache)
            aim = saves > 0 and kills > 0
            # Each further start has less to do; half of a whole run's time hits most of what there is.
            until = time.monotonic() + self.draw.uniform(0, self.seconds * (0.5 if start else 1.0))
            while not command.ended() and kills > 0:
                if set(_saving(folder)) - before if aim else time.monotonic() > until:
                    time.sleep(self.draw.uniform(0, 0.008) if aim else 0)
                    command.kill()
                    inside = bool(set(_saving(folder)) - before)
                    self.told.kills += 1
                    self.told.inside_saves += inside
                    self.told.on_full_disks += grow is not None
                    phase = _phase(folder)
                    self.told.phases[phase] = self.told.phases.get(phase, 0) + 1
                    kills, saves = kills - 1, saves - inside
                    break
                time.sleep(0.0002 if aim else 0.002)
            else:
                if self._ended(command, folder, grow):
                    return
        self.told.wrong.append(f"{self.name}: not done after {MOST_STARTS} starts")

    def _ended(self, command: Command, folder: Path, disk: "Disk | None") -> bool:
        """Whether this start was the last; a full disk gets a little more room."""
        said = self._to_the_end(command, full=disk is not None)
        if said is not None and disk is not None:
            self.told.full += 1
            if any(_saving(folder)):
                self.told.wrong.append(f"{self.name}: half a folder was left: {said}")
            disk.grow()
            return False
        if command.code == 0:
            self.told.runs += 1
            self.told.different += [f"{self.name}: {name}" for name in differences(folder, self.whole)]
        return True

    def _to_the_end(self, command: Command, *, full: bool = False) -> str | None:
        """Wait; what it said last when there was no room."""
        limit = time.monotonic() + GIVE_UP
        while not command.ended():
            if time.monotonic() > limit:
                command.kill()
            time.sleep(0.01)
        said = command.log.read_text(encoding="utf-8", errors="replace")
        last = (said.splitlines() or [""])[-1]
        if full and command.code == 2 and ("No space left" in last or "disk full" in last):
            return last
        if command.code != 0 or "Traceback" in said:
            self.told.wrong.append(f"{self.name}: exit code {command.code}: {last}")
        return None


class Disk:
    """A small file system in memory, with too little room at first."""

    def __init__(self, place: Path, size: int, step: int) -> None:
        self.place, self.size, self.step = place, size, step
        place.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(place))

    def grow(self) -> None:
        """Make a little more room."""
        self.size += self.step
        _mount("-o", f"remount,size={self.size}", str(self.place))

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["umount", str(self.place)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _saving(folder: Path) -> Iterator[Path]:
    """The temporary folders of checkpoints and of the model that are there now."""
    with contextlib.suppress(OSError):
        yield from (folder / "checkpoints").glob(".0*")
    with contextlib.suppress(OSError):
        yield from folder.glob(".model.*")


def _phase(folder: Path) -> str:
    if (folder / "model").is_dir():
        return "testing"
    steps = sorted(path.name for path in (folder / "checkpoints").glob("0*"))
    if steps:
        return f"after update {int(steps[-1])}"
    return "before the first checkpoint" if (folder / "recipe.yaml").exists() else "preparing"


def _size(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def soak(
    place: Path,
    *,
    kills: int,
    saves: int,
    full: int,
    each: int,
    seed: int,
) -> Told:
    """Kill runs of some recipes in turn.

    Args:
        place: an empty folder
        kills: how many
        saves: how many of them inside a save, at least
        full: how many more with hardly any room on the disk
        each: kills of one run
        seed: of their moments
    """
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
        seqx(["check", "wmt_en_de"])  # imports what a run does, before there are processes
    told, draw = Told(), random.Random(seed)  # noqa: S311
    soaks = [Soak(name, place, draw, told) for name in RECIPES]
    # A name each: the folder's stands in the metrics.
    folders = [place / soak.name / f"{soak.name}-whole" for soak in soaks]
    for folder in folders:
        folder.parent.mkdir()
    turn = 0
    while told.kills < kills or told.inside_saves < saves:
        if turn > 4 * kills:
            told.wrong.append(f"only {told.kills} kills in {turn} runs")
            break
        left = max(kills - told.kills, saves - told.inside_saves)
        one, folder = soaks[turn % len(soaks)], folders[turn % len(soaks)]
        one.disturbed(min(each, left), min(each, saves - told.inside_saves), folder)
        turn += 1
    for turn in range(4 * full):
        if told.on_full_disks >= full:
            break
        one, left = soaks[turn % len(soaks)], full - told.on_full_disks
        room = _size(one.whole)
        disk = Disk(place / f"disk{turn}", room * 3 // 4, room // 8)
        try:
            one.disturbed(min(each, left), min(each, left) // 2, disk.place / f"{one.name}-whole", grow=disk)
        finally:
            disk.close()
    return told


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """What happened, a line for each kind."""
    told = record["told"]
    rows = {
        "kills": told["kills"],
        "of them inside a save": told["inside_saves"],
        "of them on a disk with hardly any room": told["on_full_disks"],
        "starts that a full disk stopped, each with one message": told["full"],
        "starts that ended as none should": len(told["wrong"]),
        "runs that came to their end": told["runs"],
        "files that differed from the undisturbed run's": len(told["different"]),
    }
    yield from markdown(["what", "how often"], [[name, str(count)] for name, count in rows.items()])


def main() -> None:
    """Write the record."""
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_is)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--saves", type=int, default=10)
    parser.add_argument("--full", type=int, default=10)
    parser.add_argument("--each", type=int, default=5, help="kills of one run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        how = {name: getattr(asked, name) for name in ("kills", "saves", "full", "each", "seed")}
        told = soak(Path(place), **how)
    record = {
        "asked": how,
        "told": asdict(told),
        "seconds": round(time.monotonic() - began, 1),
        **provenance(),
    }
    text = json.dumps(record, indent=2) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    print(text, end="")
    sys.exit(1 if told.different or told.wrong else 0)


if __name__ == "__main__":
    main()
