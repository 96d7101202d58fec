"""Compare the tables of the documents with the records in benchmarks/results/."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.soak import memory_of_tenths
from benchmarks.table3 import against_base
from benchmarks.update_tables import DOCUMENTS, RECORDS, update_tables
from tests.fuzz.harnesses import HARNESSES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_tables_match_the_records(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert update_tables(text) == text
    assert len(re.findall(r"^<!-- table: \S+ -->$", text, re.MULTILINE)) >= 2


def test_kill_test_record_has_no_failures() -> None:
    told = json.loads((RECORDS / "kill_test.json").read_text(encoding="utf-8"))["told"]
    assert (told["wrong"], told["different"]) == ([], [])


def test_killed_runs_trained_for_an_epoch() -> None:
    told = json.loads((RECORDS / "kill_test.json").read_text(encoding="utf-8"))["told"]
    assert all(run["epoch"] >= 1 for run in told["undisturbed"].values())


def test_number_of_agreeing_table_3_rows() -> None:
    record = json.loads((RECORDS / "table3.json").read_text(encoding="utf-8"))
    rows = [line.split("|") for line in against_base(record["runs"])][2:]
    agree = sum((float(here) > 1) == (float(there) > 1) and float(there) != 1 for *_, here, there, _ in rows)
    assert f"Of the {len(rows)} rows {agree} move perplexity" in DOCUMENTS[0].read_text(encoding="utf-8")


@pytest.mark.promise("500-sentences-equal")
@pytest.mark.parametrize(
    "program", ["engine ctranslate2, fp32", "CTranslate2, fp32, alpha 0", "transformers, fp32, alpha 0"]
)
def test_other_programs_answered_500_sentences_like_seqx(program: str) -> None:
    record = json.loads((RECORDS / "export_parity.json").read_text(encoding="utf-8"))
    way = record["ways"][program]
    assert record["sentences"] == 500
    assert way["differing_lines"] == 0
    assert way["largest_score_difference"] <= 1e-4


def test_64_clients_of_a_server_got_three_times_the_throughput_of_one() -> None:
    servers = json.loads((RECORDS / "serving.json").read_text(encoding="utf-8"))["servers"]
    one, many = servers["seqx, fp32"]["1"], servers["seqx, fp32"]["64"]
    assert all(b["per_second"] >= 3 * a["per_second"] for a, b in zip(one, many, strict=True))
    assert all(result["different"] == 0 for results in (one, many) for result in results)


def test_soak_test_record_has_no_lost_or_wrong_answers() -> None:
    record = json.loads((RECORDS / "soak.json").read_text(encoding="utf-8"))
    assert record["problems"] == []
    assert not {"lost", "wrong", "open"} & {name for found in record["outcomes"].values() for name in found}
    before, after = memory_of_tenths(record)
    assert after < 1.1 * before
    assert record["stopped"] == {"exit_code": 0, "errors": "", "sent": 8, "right": 8}


def test_each_harness_was_fuzzed_for_two_minutes() -> None:
    every = json.loads((RECORDS / "fuzz.json").read_text(encoding="utf-8"))["harnesses"]
    assert every.keys() == HARNESSES.keys()
    seconds = [found["processor_seconds"] for found in every.values() if not found["found"]]
    assert min(seconds) >= 120
    assert sum(seconds) >= 3600


def test_changed_record_changes_its_table(tmp_path: Path) -> None:
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    for file in RECORDS.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    record = json.loads((tmp_path / "compare_components.json").read_text(encoding="utf-8"))
    record["runs"][0]["run"] = "another name"
    (tmp_path / "compare_components.json").write_text(json.dumps(record), encoding="utf-8")
    assert re.search(r"^\| another name +\|", update_tables(text, tmp_path), re.MULTILINE)


def test_each_record_names_its_machine() -> None:
    for file in RECORDS.glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        assert record.keys() & {"machine", "parts"}, file.name
