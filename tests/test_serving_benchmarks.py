"""Benchmarks of servers run without errors, with inputs so small that their numbers mean nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import server_threads, serving, soak
from benchmarks.provenance import ROOT
from tests import forked
from tests.extras import skip_without
from tests.models import write_model

skip_without("ctranslate2", "starlette", "uvicorn", "prometheus_client", "python_multipart")


def record_of(tmp_path: Path, benchmark: str, *options: str) -> Any:
    """Return the record of a benchmark of a tiny model."""
    model = write_model(tmp_path / "model")
    out = tmp_path / "record.json"
    done = forked.run(
        sys.executable, "-m", f"benchmarks.{benchmark}", model, *options, "--out", out, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_serving_benchmark_compares_every_answer(tmp_path: Path) -> None:
    options = ("--rounds", "1", "--seconds", "0.1", "--sentences", "5", "--clients", "1", "4")
    record = record_of(tmp_path, "serving", *options)
    assert record["servers"].keys() == serving.SERVERS.keys()
    for name, by_clients in record["servers"].items():
        assert list(by_clients) == ["1", "4"]
        for clients, (result,) in by_clients.items():
            assert result["requests"] > 0, clients
            assert result["p95"] >= result["p50"] > 0
            assert result["different"] == 0 or "int8" in name


def test_serving_table_compares_with_one_client() -> None:
    one = {"per_second": 10.0, "p50": 99.6, "p95": 120.0, "different": 0, "requests": 1000}
    many = {"per_second": 40.0, "p50": 1600.0, "p95": 2000.0, "different": 1, "requests": 4000}
    *_, row = serving.table({"servers": {"seqx": {"1": [one, one], "64": [many, one]}}})
    assert row == "| seqx | 64 | 25.0 | 2.5 (1.0 to 4.0) | 850 ms | 1060 ms | 1 of 5,000 |"


def test_server_threads_table_compares_with_one_thread() -> None:
    one, two = {"per_second": 50.0, "p50": 20.0, "p95": 30.0}, {"per_second": 20.0, "p50": 45.0, "p95": 99.6}
    record = {"models": {"small": {"1": {"8": [one, one]}, "2": {"8": [two, one]}}}}
    *_, row = server_threads.table(record)
    assert row == "| small | 8 | 2 | 35.0 | 0.70 (0.40 to 1.00) | 32 ms | 65 ms |"


@pytest.mark.slow
def test_soak_test_finds_no_lost_or_wrong_answers(tmp_path: Path) -> None:
    record = record_of(tmp_path, "soak", "--minutes", "0.02", "--sentences", "5")
    outcomes = record["outcomes"]
    assert record["problems"] == []
    assert set(outcomes["steady"]) <= {"right", "429", "503"}
    assert outcomes["steady"]["right"] > 0
    assert outcomes["slow"]["right"] > 0
    assert outcomes["flooding"]["429"] > 0
    assert set(outcomes["hostile"]) == {"refused", "closed"}
    assert set(outcomes["silent"]) == {"closed"}
    assert record["waiting_at_the_end"] == ["seqx_waiting_lines 0.0"]
    assert record["stopped"] == {"exit_code": 0, "errors": "", "sent": 8, "right": 8}
    assert record["memory_mib"][-1][1] > 0


def test_soak_table_compares_memory_of_the_second_and_the_last_tenth() -> None:
    memory = [(number, 100.0 + number) for number in range(20)]
    stopped = {"exit_code": 0, "errors": "", "sent": 8, "right": 7}
    record = {"seconds": 1800, "outcomes": {"steady": {"right": 5_000, "429": 2}}, "memory_mib": memory}
    *_, row, _, last = soak.table({**record, "stopped": stopped})
    assert row == "| steady | 5,000 |  |  | 2 |  |  |  |  |  |"
    assert "103 MiB in the second tenth of the time, 119 MiB in the last" in last
    assert "7 of 8 requests were answered, exit code 0" in last
