"""`seqx run --devices` and torchrun: the run of one process, by several."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stories.tiny import TINY, seqx, tiny

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "training.schedule.peak=1e-3",
    "model.encoder.dropout=0",
    "model.decoder.dropout=0",
    "training.steps=4",
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
    )


def test_a_signal_to_the_launcher_stops_all_and_the_run_goes_on() -> None:
    recipe = str(tiny())
    command = ["run", recipe, "--folder", "two", "--devices", "2", "--device", "cpu", *SETTINGS[:-1]]
    never = [f"training.{name}=100000" for name in ("steps", "validate_every", "save_every")]
    with subprocess.Popen(
        [sys.executable, "-m", "seqx", *command, *never],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
    ) as process:
        end = time.monotonic() + 120
        while not Path("two", "data.json").is_file() and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 75, said
    assert re.search(r"^two: stopped by SIGTERM, .*; the same command goes on$", said, re.MULTILINE), said
    assert "Traceback" not in said
    assert not re.search(r"^W\d{4} ", said, re.MULTILINE)
    (kept,) = Path("two", "checkpoints").glob("0*")
    on = f"training.steps={int(kept.name) + 2}"
    again = started("seqx", *command, *never[1:], on)
    assert again.returncode == 0, again.stderr
    assert scores("two").keys() == {"dev", "test"}


def scores(folder: str) -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(Path(folder, "model", "scores.json").read_text(encoding="utf-8"))


def test_two_devices_give_the_scores_of_one() -> None:
    recipe = str(tiny())
    one = seqx("run", recipe, "--folder", "one", *SETTINGS)
    two = started("seqx", "run", recipe, "--folder", "two", "--devices", "2", "--device", "cpu", *SETTINGS)

    assert one.exit_code == two.returncode == 0, two.stderr
    assert two.stdout == one.stdout.replace("one/model", "two/model")
    assert scores("two") == scores("one")
    assert "Traceback" not in two.stderr
    assert "Warning" not in two.stderr


def test_a_mistake_is_told_once_by_the_launcher() -> None:
    """Found by the first process in the middle of a run, while the other one waits."""
    recipe = str(tiny())
    Path("taken").mkdir()
    Path("taken", "thesis.txt").touch()
    left = started("seqx", "run", recipe, "--folder", "taken", "--devices", "2", "--device", "cpu")

    assert left.returncode == 2
    assert left.stderr == "taken: holds no run, but other files (thesis.txt); choose another --folder\n"


def test_a_mistake_in_the_recipe_is_told_before_anything_is_started() -> None:
    recipe = str(tiny(TINY.replace("tokens: 300", "tokens: none")))
    assert seqx("run", recipe, "--devices", "2").exit_code == 2


def test_torchrun_is_enough() -> None:
    recipe = str(tiny())
    launcher = ("torch.distributed.run", "--nproc-per-node", "2", "-m")
    two = started(*launcher, "seqx", "run", recipe, "--folder", "two", "--device", "cpu", *SETTINGS)

    assert two.returncode == 0, two.stderr
    assert two.stdout.count("model: two/model\n") == 1
