"""The benchmark of growth, with values so small that its rates mean nothing."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.peers.sizes import SIZES
from tests import forked

ROOT = Path(__file__).parents[1]


def test_exponent_of_growth_is_that_of_the_cost_of_a_unit() -> None:
    assert growth.growth([1, 2, 4], [8, 4, 2]) == pytest.approx(1)
    assert growth.growth([1, 2, 4], [8, 8, 8]) == pytest.approx(0)
    assert growth.growth([1], [8]) is None


@pytest.mark.slow
def test_growth_benchmark_measures_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, drawing = tmp_path / "growth.json", tmp_path / "growth.svg"
    options = [
        "--size",
        "tiny",
        "--seconds",
        "0",
        "--divide",
        "400",
        "--out",
        str(out),
        "--draw",
        str(drawing),
    ]
    command = [sys.executable, "-m", "benchmarks.growth", "tokens", "planning", *options]
    done = forked.run(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    quantities = json.loads(out.read_text(encoding="utf-8"))["quantities"]
    assert quantities["tokens"]["values"] == [1, 2, 5, 10, 20]
    assert all(rate > 0 for rate in quantities["planning"]["rates"])
    assert "planning" in done.stdout
    assert drawing.read_text(encoding="utf-8").startswith("<?xml")


def test_growth_benchmark_decodes_with_beams() -> None:
    assert growth.decoding_rate(SIZES["tiny"], beam=2, lines=1) > 0


def test_growth_benchmark_refuses_unknown_quantities() -> None:
    done = forked.run(sys.executable, "-m", "benchmarks.growth", "colour", cwd=ROOT)
    assert done.returncode == 2
    assert "colour is not a quantity; name any of tokens" in done.stderr
