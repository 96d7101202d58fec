"""Benchmarks run without errors, with inputs so small that their numbers mean nothing."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks import (
    busy_cpu,
    compiling,
    corpus_sizes,
    export_parity,
    fuzz,
    grammar_share,
    initialisation,
    linear_layers,
    loader,
    matrix_products,
    preparation,
    search_steps,
    startup,
)
from benchmarks.corpus import lengths
from benchmarks.peers.sizes import SIZES
from seqx.commands.loading import load_checked
from seqx.inference.predictor import inference_mode
from tests import forked
from tests.models import write_model

ROOT = Path(__file__).parents[1]


def run(*command: str) -> str:
    """Return the output of a Python command."""
    result = forked.run(sys.executable, *command, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


def test_preparation_benchmark_records_all_pairs(tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    run("-m", "benchmarks.preparation", "--pairs", "800", "--processes", "1", "--vocabulary", "1000",
        "--folder", str(tmp_path), "--out", str(out))  # fmt: skip
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["pairs"] == 800
    assert record["runs"][0]["examples"] + sum(record["runs"][0]["dropped"].values()) == 800
    assert record["runs"][0]["lines_per_second"] > 0
    assert sum(record["runs"][0]["files"].values()) > 2 * sum(record["runs"][0]["tokens"].values())


@pytest.mark.slow
def test_corpus_sizes_benchmark_measures_each_step(tmp_path: Path) -> None:
    run("-m", "benchmarks.corpus_sizes", "--pairs", "400", "600", "--processes", "1", "--vocabulary", "1000",
        "--out", str(tmp_path / "record.json"))  # fmt: skip
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert [size["pairs"] for size in record["sizes"]] == [400, 600]
    for size in record["sizes"]:
        assert size["steps"].keys() == corpus_sizes.STEPS.keys()
        assert all(step["seconds"] >= 0 for step in size["steps"].values())
    *_, row = corpus_sizes.table(record)
    assert row.startswith("| 600")


def test_loader_benchmark_compares_with_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--pairs", "400", "--vocabulary", "1000", "--sizes", "tiny", "gpu", "--processes", "0",
               "--rounds", "1", "--seconds", "0.02", "--out", str(tmp_path / "record.json")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["loader", *options])
    monkeypatch.setattr(loader, "GPU_UPDATE", 1000)
    loader.main()
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["rates"]["tiny"].keys() == {"training", "stored", "sampled"}
    assert record["rates"]["gpu"].keys() == {"stored", "sampled"}
    assert all(rate > 0 for rates in record["rates"].values() for values in rates.values() for rate in values)
    assert len([*loader.table(record)]) == 2 + 4


def test_preparation_table_extrapolates_time_and_size() -> None:
    files = {"source": 2000, "source.at": 1000, "source.text": 6000, "source.text.at": 1000}
    measured = {"processes": 2, "lines_per_second": 20_000, "peak_pss_mb": 1900, "files": files}
    *_, row = preparation.table({"pairs": 1000, "runs": [measured]})
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["2", "20,000", "1,900 MiB", "30 min", "0.1 GB", "0.3 GB"]


def test_startup_table_compares_rounds_with_importing_torch() -> None:
    def rounds(*values: float) -> list[dict[str, float]]:
        return [{"seconds": value, "cpu_seconds": value / 2} for value in values]

    record = {"commands": {"import torch": rounds(1, 2, 4), "seqx --help": rounds(2, 1, 2)}}
    *_, row = startup.table(record)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["`seqx --help`", "2.00 s", "0.50 (0.50-2.00)", "1.00 s", "0.50 (0.50-2.00)"]


def test_export_parity_compares_scores_of_equal_lines_only() -> None:
    ours = export_parity.Answers(["a", "b", "c"], [-1.0, -2.0, -3.0])
    theirs = export_parity.Answers(["a", "x", "c"], [-1.5, -9.0, -3.25])
    found = export_parity.difference(ours, theirs)
    assert found == {"differing_lines": 1, "largest_score_difference": 0.5}
    ways = {
        "seqx": {**found, "bleu": 30.0, "seconds": [2.0, 4.0, 3.0]},
        "other": {**found, "bleu": 29.5, "seconds": [1.0, 1.0, 1.0]},
    }
    *_, row = export_parity.table({"sentences": 3, "ways": ways})
    assert row == "| other | 1 of 3 | 5.0e-01 | 29.50 | 3.00 (2.00 to 4.00) |"


def test_scale_benchmark_records_updates_and_files(tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    run("-m", "benchmarks.scale", "--pairs", "5000", "--vocabulary", "1000", "--tokens", "2000",
        "--folder", str(tmp_path), "--out", str(out))  # fmt: skip
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["repeats"] == 100
    assert record["tokens"]["target"] / 2000 <= record["updates"] <= record["tokens"]["target"] / 1000
    assert sum(record["files"].values()) >= 2 * sum(record["tokens"].values())
    assert list(tmp_path.iterdir()) == [out]


def test_generated_pairs_have_the_documented_lengths() -> None:
    import numpy as np

    pair_lengths = lengths(np.random.default_rng(0), 50_000)
    assert pair_lengths.mean() == pytest.approx(27, rel=0.03)
    assert np.corrcoef(np.log(pair_lengths.T))[0, 1] > 0.7


def test_initialisation_benchmark_uses_the_model_of_the_base_recipe(data: Callable[[str], Path]) -> None:
    data("tatoeba_en_de")
    configured = load_checked(
        str(ROOT / "recipes" / "wmt_en_de.yaml"), None, initialisation.overrides(300, 1500)
    ).configured
    plain = configured.plain()
    assert plain["model"] == load_checked("wmt_en_de").configured.plain()["model"]
    assert plain["training"]["steps"] == 300
    assert "SEQX_DATA" in os.environ


FUZZER_OUTPUT = """\
#2	INITED cov: 90 ft: 91 corp: 1/20b exec/s: 0 rss: 270Mb
#5778	DONE   cov: 96 ft: 346 corp: 38/3031b lim: 1200 exec/s: 275 rss: 274Mb
Done 5778 runs in 21 second(s)
stat::number_of_executed_units: 5778
stat::average_exec_per_sec:     275
stat::peak_rss_mb:              274
"""


def test_fuzz_benchmark_parses_and_tabulates_the_output_of_fuzzers() -> None:
    assert fuzz.parse_statistics(FUZZER_OUTPUT) == fuzz.Statistics(inputs=5778, edges=96, memory=274)
    assert fuzz.parse_statistics(FUZZER_OUTPUT.partition("stat::peak")[0]) is None
    done = {"processor_seconds": 1800.0, "inputs": 2000, "edges": 96, "memory": 274}
    killed = {
        "processor_seconds": 0.0,
        "inputs": None,
        "edges": None,
        "memory": None,
        "found": ["about-crash-2"],
    }
    harnesses = {
        "trees": {**done, "found": ["trees-crash-1"]},
        "yaml": {**done, "found": []},
        "about": killed,
    }
    record = {"harnesses": harnesses}
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in fuzz.table(record)]
    assert cells[2] == ["trees", "30.0 min", "2,000", "96", "274 MiB", "1"]
    assert cells[4] == ["about", "0.0 min", "", "", "", "1"]
    assert cells[-1] == ["all", "1.00 h", "4,000", "", "274 MiB", "2"]


def test_fuzz_benchmark_runs_a_harness(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the extra fuzz is not installed")
    out = tmp_path / "fuzz.json"
    run("-m", "benchmarks.fuzz", "about", "--seconds", "2", "--found", str(tmp_path), "--out", str(out))
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["harnesses"]["about"]["inputs"] > 1
    assert record["harnesses"]["about"]["found"] == []


def test_busy_cpu_table_shows_fractions_of_the_idle_speed() -> None:
    cases = [
        {"precision": "fp32", "policy": policy, "rates": rates}
        for policy, rates in (
            ("adapts", [990, 600, 900, 250, 900]),
            ("always spins", [1000, 300, 999, 100, 999]),
        )
    ]
    *_, adapts, spins = busy_cpu.table({"cases": cases})
    assert adapts == "| fp32 | adapts | 990 (0.99) | 600 (0.60) | 250 (0.25) |"
    assert spins == "| fp32 | always spins | 1,000 (1.00) | 300 (0.30) | 100 (0.10) |"


@torch.no_grad()
def test_linear_layers_benchmark_compares_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_layers, "SECONDS", 0.0)
    monkeypatch.setattr(linear_layers, "SHAPES", [(16, 8)])
    monkeypatch.setattr(linear_layers, "ROWS", [3])
    monkeypatch.setattr(linear_layers, "CASES", [(1, 3)])
    for name, value in (("WIDTH", 16), ("DEPTH", 1), ("SYMBOLS", 50)):
        monkeypatch.setattr(linear_layers, name, value)
    (layer,), (model,) = linear_layers.layers(2), linear_layers.decode(2)
    assert layer["ratios"]["F.linear"] == [1, 1, 1]
    assert "oneDNN" in layer["ratios"]
    assert set(model["ratios"]) >= {"fp32", "fp32, plain"}


def test_matrix_products_benchmark_compares_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_layers, "SECONDS", 0.0)
    results = [*matrix_products.products(2, [(3, 16, 8)]), *matrix_products.updates(2, ["tiny"])]
    assert [result["name"] for result in results] == [
        "3 rows, 16 to 8: output",
        "3 rows, 16 to 8: gradient of the input",
        "3 rows, 16 to 8: gradient of the weight",
        "update of 200 target tokens, tiny",
    ]
    result = {"name": "x", "milliseconds": {"MKL": 3.0, "oneDNN": 1.5}, "ratios": {"oneDNN": [1.5, 2, 2.5]}}
    *_, last = matrix_products.table({"results": [result]})
    assert [cell.strip() for cell in last.split("|")] == ["", "x", "3.00", "2.00 (1.50 to 2.50)", ""]
    assert {*results[0]["ratios"]} == {"MKL", "oneDNN", "both"}


def test_search_steps_benchmark_compares_parts_and_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(linear_layers, "SECONDS", 0.0)
    model = write_model(tmp_path / "model")
    results = [*search_steps.steps(2, [(3, 50)]), *search_steps.answers(2, model, ["The dog sleeps."])]
    assert [result["name"] for result in results] == [
        "log-probabilities, 3 hypotheses, 50 symbols",
        "selection, 3 hypotheses, 50 symbols",
        "one cache per sentence, 1 answers",
        "joined products, 1 answers",
        "columns dropped, 1 answers",
    ]
    rows = list(search_steps.table({"results": results}))
    assert len(rows) == 7


@pytest.mark.slow
def test_grammar_share_benchmark_writes_the_same_symbols_without_the_grammar(
    data: Callable[[str], Path], tmp_path: Path
) -> None:
    data("ptb_nltk_sample")
    sides = [f"model.inner.{side}" for side in ("encoder", "decoder")]
    settings = [f"{side}.{setting}" for side in sides for setting in ("layers=1", "feedforward.width=16")]
    settings += ["model.inner.d_model=16", "task.tokenizer.size=500", "search.size=3"]
    settings += ["task.corpus.train=['${SEQX_DATA}/ptb_nltk_sample/dev.mrg.gz']"]  # a few trees
    predictor = grammar_share.random_parser("wsj_parsing", tmp_path / "vocabulary", "fp32", settings)
    with inference_mode(predictor.model, predictor.device, "fp32"):
        case = grammar_share.Case(predictor, grammar_share.sentences(2), last=8)
        result = case.compare(2)
        without = case.run(grammar=False)
    assert result["steps"] == 8
    assert result["same_symbols"] == 1
    assert result["grammar_us"][0] > 0
    assert sum(without.grammar) == 0
    cells = [line.split("|")[2] for line in grammar_share.table({"results": [CASE | result]})]
    assert cells[2] == " beam 3, 2 "


CASE = {"model": "m", "search": "beam 3", "sentences": 2}


def test_compiling_benchmark_has_batches_of_different_shapes_and_equal_size() -> None:
    size = SIZES["tiny"]
    data = compiling.batches(size, 6)
    assert len({(pairs.source.shape, pairs.target.shape) for pairs in data}) == 6
    assert all(size.batch_tokens / 2 < pairs.tokens <= size.batch_tokens for pairs in data)


def test_compiling_table_shows_the_ratio_of_updates() -> None:
    case = {"size": "small", "precision": "fp32", "plain_seconds": 1.5, "ratio": [0.9, 1.05, 1.1],
            "compile_seconds": 40.2, "peak_mb": [1000, 1500]}  # fmt: skip
    *_, row = compiling.table({"results": [case]})
    assert row == "| small | fp32 | 1.50 | 1.05 (0.90 to 1.10) | 40 | 1,000, 1,500 |"


@pytest.mark.parametrize(
    ("benchmark", "arguments", "message"),
    [
        (corpus_sizes, ["--data", ""], "argument --data: there is no folder ''"),
        (
            corpus_sizes,
            ["--data", "."],
            "argument --data: there is no file 'wmt_news/en-de/train.en.gz'; name ",
        ),
        (loader, ["--data", "none"], "argument --data: there is no folder 'none'"),
        (preparation, ["--folder", ""], "argument --folder: there is no folder ''"),
        (search_steps, ["--model", "."], "argument --model: .: "),
        (search_steps, ["--input", ""], "argument --input: there is no file ''"),
        (startup, ["--model", "none"], "argument --model: there is no folder 'none'"),
        (export_parity, [""], "argument model: there is no folder ''"),
        (compiling, ["--out", "none/a.json"], "argument --out: there is no folder 'none'; create it"),
        (linear_layers, ["--out", ""], "argument --out: '' is not a file; name one"),
    ],
)
def test_wrong_path_is_one_message(
    benchmark: ModuleType,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(SystemExit) as raised:
        benchmark.main()
    assert raised.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err.splitlines()[-1]


def test_missing_folder_of_real_text_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "none"):
        monkeypatch.setenv("SEQX_DATA", value)
        with pytest.raises(SystemExit, match=f"^SEQX_DATA: there is no folder '{value}'; set this variable"):
            grammar_share.sentences(1)
