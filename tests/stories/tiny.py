"""A recipe that trains for seconds, and helpers that run commands."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from safetensors.torch import load_file
from torch import Tensor

from seqx.cli import main
from seqx.inference import load
from tests.models import RECIPE

TINY = f"""\
{RECIPE.replace("size: 3, ratio: 0.25, extra: 4", "size: 2, ratio: 0, extra: 2")}
training:
  steps: 6
  tokens: 300
  objective: {{type: cross_entropy, smoothing: 0.1}}
  optimizer: {{type: adam, betas: [0.9, 0.98], eps: 1e-9}}
  schedule: {{type: inverse_square_root, warmup: 4, peak: 3e-3}}
  precision: fp32
  validate_every: 3
  save_every: 2
  average: 2
callbacks: [progress, {{type: metrics, every: 1}}]
"""

STOPPER = '''\
import os
import signal

import seqx


class Stopper(seqx.Callback):
    """Send SIGTERM after update `STOP_AT`."""

    @seqx.hookimpl
    def updated(self, update: seqx.Update) -> None:
        if str(update.step) == os.environ.get("STOP_AT"):
            signal.raise_signal(signal.SIGTERM)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, stopper=Stopper)
'''
"""A plugin with a callback that stops the run."""


def seqx(*arguments: str | Path, text: str | None = None) -> Result:
    """Run a command in this process, and return its result; the command must not raise."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def done(*arguments: str | Path, text: str | None = None) -> str:
    """Return the standard output of a command, which must succeed."""
    result = seqx(*arguments, text=text)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    """Return the standard error of a command, which must exit with code 2."""
    result = seqx(*arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


def check_finished_run_is_unchanged(run: Path, command: Sequence[str | Path], output: str) -> None:
    """Check that the command of a finished run prints its scores, `output`, again and changes no file."""
    before = files(run)
    again = done(*command)
    assert "this run is finished" in again
    assert output in again
    assert files(run) == before


def move_model(run: Path) -> Path:
    """Copy the model of a run to another folder, rename the run folder, and return the copy."""
    model = Path(shutil.copytree(run / "model", run.parent / "copy" / "model"))
    run.rename("renamed")
    return model


def answers(verb: str, model: Path, inputs: Sequence[str]) -> list[str]:
    """Return the answers of a command to input lines; they must equal the answers from Python."""
    output = done(verb, model, text="\n".join(inputs) + "\n").split("\n")[:-1]
    assert output == [answer.replace("\n", " ") for answer in load(model)(inputs)]
    return output


def tiny(text: str = TINY, name: str = "tiny.yaml") -> Path:
    """Write a recipe into the current folder."""
    file = Path(name)
    file.write_text(text, encoding="utf-8")
    return file


def lines(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the lines of one kind in a run's `metrics.jsonl`."""
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == kind]


def weights(folder: Path) -> Mapping[str, Tensor]:
    """Return the weights of a model or a checkpoint."""
    return load_file(str(folder / "model.safetensors"))


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return each file of a folder with its size and the time of its last change."""
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
