"""The comparison with other toolkits, with fake toolkits, and with real ones where they are installed."""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmarks.peers import trained_weights
from benchmarks.peers.__main__ import duration
from benchmarks.peers.command_lines import MAKERS, write_files
from benchmarks.peers.decoding import compare_answers
from benchmarks.peers.environments import LOCKS, TOOLKITS, default_folder, install, python
from benchmarks.peers.parts import Setting
from benchmarks.peers.program import Program
from benchmarks.peers.report import ratios, tables
from benchmarks.peers.rounds import EQUAL_ALLOCATOR, Contestant, FailedRequest, alternate
from benchmarks.peers.sizes import SIZES, Pairs, read_batches, write_batches
from benchmarks.peers.workload import HELD_OUT, Text, Workload
from benchmarks.provenance import provenance
from seqx.errors import UserError
from seqx.inference import load
from seqx.interfaces.task import Example
from seqx_transformer.layers import Sinusoidal
from tests import forked
from tests.models import RECIPE, write_model

ROOT = Path(__file__).parents[1]
FAKE = "tests.fake_toolkit"
BATCH = Pairs(np.array([[5, 6, 2]]), np.array([[7, 2, 0]]))


def contestant(name: str, prepare: dict[str, Any], **settings: Any) -> Contestant:
    return Contestant(name, Path(sys.executable), FAKE, prepare, {"do": "versions"}, **settings)


def decoding(folder: Path, **options: Any) -> dict[str, Any]:
    settings = {"beam": 4, "threads": 1, "options": {"extra": 50, **options}}
    return {"do": "prepare_decoding", "model": str(folder), **settings}


def test_batches_survive_writing_and_reading(tmp_path: Path) -> None:
    write_batches(tmp_path / "batches.npz", [BATCH, BATCH])
    first, _ = read_batches(tmp_path / "batches.npz")
    assert first.tokens == 2
    assert first.source.tolist() == BATCH.source.tolist()


def test_contestants_train_on_the_same_batches_in_rotated_order(tmp_path: Path) -> None:
    write_batches(tmp_path / "batches.npz", [BATCH])
    prepare = {
        "do": "prepare_training",
        "size": "tiny",
        "vocabulary": 9,
        "batches": str(tmp_path / "batches.npz"),
        "threads": 1,
        "options": {},
    }
    both = [contestant("seqx", prepare), contestant("peer", prepare)]
    case = ("tiny", lambda number: {"do": "train", "first": number, "count": 3}, 6)
    record = alternate(both, [case], rounds=2, deadline=time.monotonic() + 60, threads=1)
    first, second = (measured["replies"]["tiny"] for measured in record["rounds"])
    assert [*first] == ["seqx", "peer"]
    assert [*second] == ["peer", "seqx"]
    assert {reply["units"] for reply in first.values()} == {6}
    assert {reply["loss"] for reply in second.values()} == {7.0}
    assert record["peak_mb"]["peer"] > 10
    assert all(measured["matmul_gflops"] > 0 for measured in record["rounds"])


def test_contestant_that_fails_is_left_out_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    both = [contestant("seqx", decoding(tmp_path)), contestant("peer", decoding(missing))]
    request = {"do": "translate", "lines": ["a", "b"], "at_once": 1, "keep": True}
    cases = [("1", lambda _: request, 2)]
    record = alternate(both, cases, rounds=1, deadline=time.monotonic() + 60, threads=1)
    assert record["left_out"] == {"peer": f"FileNotFoundError: {missing} is missing"}
    assert [*record["rounds"][0]["replies"]["1"]] == ["seqx"]


def test_case_that_takes_too_long_is_skipped_with_an_estimate(tmp_path: Path) -> None:
    alone = [contestant("seqx", decoding(tmp_path, seconds=0.02))]
    request = {"do": "translate", "lines": ["a"], "at_once": 1}
    cases = [("1", lambda _: request, 1), ("9000", lambda _: request, 9000)]
    record = alternate(alone, cases, rounds=2, deadline=time.monotonic() + 30, threads=1)
    assert re.fullmatch(r"needs about \d{3} s", record["skipped"]["9000"])
    assert [[*measured["replies"]] for measured in record["rounds"]] == [["1"], ["1"]]


def test_allocator_settings_reach_the_process() -> None:
    process = contestant("peer", {"do": "versions"}, environment=EQUAL_ALLOCATOR)
    try:
        assert process.ask({"do": "versions"})["versions"]["variable"] == "0"
    finally:
        process.close()


def part(**settings: Any) -> dict[str, Any]:
    def reply(rate: float, answers: list[str] | None = None) -> dict[str, Any]:
        return {"rate": rate} | ({} if answers is None else {"answers": answers})

    rounds = [
        {
            "matmul_gflops": 100.0,
            "replies": {"8": {"seqx": reply(30.0, ["a", "b"]), "peer": reply(20.0, ["a", "c"])}},
        },
        {"matmul_gflops": 50.0, "replies": {"8": {"seqx": reply(10.0), "peer": reply(20.0)}}},
        {"matmul_gflops": 50.0, "replies": {"8": {"seqx": reply(10.0)}}},
    ]
    peaks = {"seqx": 1000, "peer": 500}
    return {"baseline": "seqx", "unit": "sentences", "rounds": rounds, "peak_mb": peaks} | settings


def test_report_shows_medians_and_ranges_of_the_ratios_of_each_round() -> None:
    stored = part(
        megaflop_per_unit=1000.0, left_out={"other": "no wheel"}, skipped={"512": "needs about 90 s"}
    )
    assert ratios(stored, "8", "peer") == [1.5, 0.5]
    stored["equal_lines"] = compare_answers(stored)
    record = {"parts": {"decoding": stored}, "not_installed": {"third": "needs another torch"}}
    lines = [re.sub(r" +", " ", line) for line in tables(record)]
    assert "8, 3 rounds, matrix products 50 (50-100) GFLOP/s:" in lines
    assert "| peer | 20 | 0.30 | 1.00 (0.50-1.50) | 500 | 1 of 2 |" in lines
    assert "| seqx | 10 | 0.20 | 1.00 (1.00-1.00) | 1,000 | 2 of 2 |" in lines
    assert "other: left out: no wheel" in lines
    assert "512: left out: needs about 90 s" in lines
    assert "third was left out: needs another torch" in lines


def test_answers_are_removed_from_the_record() -> None:
    stored = part()
    compare_answers(stored)
    assert "answers" not in json.dumps(stored)


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda file: file.stem)
def test_locks_of_toolkits_pin_all_packages_and_none_for_gpus(lock: Path) -> None:
    lines = lock.read_text(encoding="utf-8").splitlines()
    assert lock.stem in TOOLKITS
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    assert not [line for line in lines if re.match("nvidia|cuda|triton", line)]
    assert {line for line in lines if line.startswith("torch==")} <= {"torch==2.13.0+cpu"}


def test_toolkit_that_cannot_be_installed_is_recorded_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(command: list[str], **_: Any) -> Any:
        return type("Done", (), {"returncode": 1, "stderr": "note\nERROR: no matching distribution\n"})

    monkeypatch.setattr("benchmarks.peers.environments.subprocess.run", fails)
    assert install(tmp_path, "eole") == "ERROR: no matching distribution"


def test_record_has_the_vector_instructions_of_the_cpu() -> None:
    reported = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert ("avx2" in provenance()["machine"]["instructions"]) == (" avx2 " in reported)


def test_durations_have_units() -> None:
    assert [duration(text) for text in ("90", "90s", "12m", "0.5h")] == [90, 90, 720, 1800]


def test_sample_text_has_pairs_of_one_to_three_sentences(workload: Workload) -> None:
    lines = workload.lines("test")
    assert (len(lines), len(workload.lines("train", "target"))) == (HELD_OUT, 100)
    words = [len(line.split()) for line in lines]
    assert 12 < sum(words) / len(words) < 20
    assert Text(pairs=50).digest != Text(pairs=60).digest


def test_text_files_must_be_parallel(tmp_path: Path) -> None:
    files = tmp_path / "en", tmp_path / "de"
    for file, count in zip(files, (3, 2), strict=True):
        file.write_text("x\n" * count, encoding="utf-8")
    with pytest.raises(UserError, match="3 and 2 lines"):
        Text(files=files).read()
    with pytest.raises(UserError, match="name two text files"):
        Text(files=(files[0], tmp_path / "missing")).read()


def test_text_files_are_split_at_line_feeds_only(tmp_path: Path) -> None:
    files = tmp_path / "en", tmp_path / "de"
    lines = [f"a{number}\u0085b" for number in range(2 * HELD_OUT)]
    for file in files:
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert Text(files=files).read() == [(line, line) for line in lines]


def test_program_reports_the_cpu_time_of_all_its_processes() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    assert Program("peer", lambda _: [sys.executable, "-c", code]).ask({})["cpu_seconds"] > 0.3


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    text = Text(pairs=100, vocabulary=400)
    return Workload.build(tmp_path_factory.mktemp("workload"), text, ["tiny"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without tied embeddings; with them, random weights repeat BOS, which seqx never writes."""
    recipe = RECIPE.replace("tie_embeddings: all", "tie_embeddings: none")
    return write_model(tmp_path_factory.mktemp("peers") / "model", text=recipe)


def test_converters_read_the_weights_of_a_model(model: Path) -> None:
    weights = trained_weights.read(model)
    state = load_file(model / "model.safetensors")
    joined, bias = weights.linear("encoder.layers.0.attention.query", "encoder.layers.0.attention.key")
    assert weights.heads == 2
    assert weights.layers == (1, 1)
    for name in ("source", "target", "projection"):
        assert np.array_equal(getattr(weights, name), state[f"{name}.weight"])
    assert np.array_equal(joined[32:], state["encoder.layers.0.attention.key.weight"])
    assert not bias.any()
    expected = Sinusoidal(32, 2).embed(torch.zeros(1, 60, 32), torch.arange(60)[None])[0]
    assert np.abs(weights.positions(60) - expected.numpy()).max() < 1e-5


def test_converters_reject_models_that_toolkits_cannot_express(tmp_path: Path) -> None:
    recipe = RECIPE.replace("layers: 1,", "layers: 1, norm_order: pre,", 1)
    with pytest.raises(ValueError, match="norm_order is pre; only post can be converted"):
        trained_weights.read(write_model(tmp_path / "model", text=recipe))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, toolkit in TOOLKITS.items() if toolkit.decodes])
def test_converted_model_gives_the_log_probabilities_of_seqx(name: str, model: Path) -> None:
    if not os.environ.get("SEQX_PEERS") or not (interpreter := python(default_folder(), name)).is_file():
        pytest.skip(f"set SEQX_PEERS to a folder in which {name} is installed (benchmarks/README.md)")
    pairs = [("The old singer sleeps.", "Der alte Sänger schläft."), ("A mouse runs.", "Maus")]
    predictor = load(model, device="cpu", precision="fp32")
    examples = [predictor.task.example(pair, training=False) for pair in pairs]
    expected = predictor.logprobs([example for example in examples if isinstance(example, Example)])
    process = Contestant(name, interpreter, TOOLKITS[name].adapter, decoding(model), {"do": "versions"})
    try:
        own = process.ask({"do": "score", "model": str(model), "pairs": pairs})["logprobs"]
    finally:
        process.close()
    assert own == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_comparison_measures_seqx_alone(tmp_path: Path) -> None:
    small = ["--pairs", "400", "--vocabulary", "400", "--rounds", "1", "--seconds", "0.01", "--size", "tiny"]
    parts = ["training tiny", "commands tiny"]
    command = [sys.executable, "-m", "benchmarks.peers", "--peers", "--parts", *parts, *small]
    out = tmp_path / "record.json"
    done = forked.run(*command, "--threads", "1", "--folder", str(tmp_path), "--out", str(out), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout for part in parts)
    record = json.loads(out.read_text(encoding="utf-8"))["parts"]
    loop, command_and_loop = (record[part]["rounds"][0]["replies"]["tiny"] for part in parts)
    assert loop["seqx"]["rate"] > 0
    assert command_and_loop["seqx"]["rate"] > 0
    assert command_and_loop["seqx, bare loop"]["rate"] > 0


def test_program_reports_the_median_of_its_rates_without_the_first() -> None:
    code = "import sys; print(input()); [print(f'{n:,} tok/s') for n in (10, 1000, 3000, 2000)]"
    program = Program("peer", lambda _: [sys.executable, "-c", code], r"([\d,]+) tok/s", standard_input="x\n")
    reply = program.ask({})
    assert reply["rate"] == 2000
    assert 0 < reply["seconds"] < 60
    assert 1 < program.peak_mb < 60  # less than this process


def test_program_that_fails_says_why() -> None:
    failing = Program("peer", lambda _: [sys.executable, "-c", "import sys; sys.exit('no such option')"])
    with pytest.raises(FailedRequest, match="exit code 1: no such option"):
        failing.ask({})
    silent = Program("peer", lambda _: [sys.executable, "-c", ""], r"([\d,]+) tok/s")
    with pytest.raises(FailedRequest, match="no rate in the output"):
        silent.ask({})


def test_program_without_a_rate_is_measured_in_runs_per_second() -> None:
    reply = Program("peer", lambda folder: [sys.executable, "-c", f"assert {str(folder)!r}"]).ask({})
    assert reply["rate"] == pytest.approx(1 / reply["seconds"])


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_training_commands_read_files_of_the_workload(name: str, workload: Workload, tmp_path: Path) -> None:
    setting = Setting(
        environments=tmp_path / "none",
        toolkits=[name],
        workload=workload,
        model=tmp_path,
        is_trained=False,
        size="tiny",
        threads=1,
        rounds=1,
        seconds=1,
    )
    files = write_files(workload, tmp_path)
    (files / "fairseq").mkdir()  # as if fairseq-preprocess had run
    assert (files / "train.source").read_text(encoding="utf-8").startswith("▁")
    arguments = MAKERS[name](setting, SIZES["tiny"], files).command(tmp_path)
    configured = (tmp_path / "config.yaml").read_text(encoding="utf-8") if name != "fairseq" else ""
    assert str(tmp_path) in " ".join(arguments) + configured
    assert str(SIZES["tiny"].batch_tokens) in " ".join(arguments) + configured
