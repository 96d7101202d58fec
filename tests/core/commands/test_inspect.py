"""The command `inspect`, on a small trained model."""

import json
import shutil
from pathlib import Path

from click.testing import CliRunner

import seqx
from seqx.cli import main
from tests.models import write_model


def test_inspect_shows_parts_vocabulary_data_and_scores(tmp_path: Path) -> None:
    model = write_model(tmp_path / "first")
    shutil.copytree(model, tmp_path / "run" / "model")
    start = {"kind": "start", "parameters": 1, "device": "cpu", "precision": "fp32", "examples": 12}
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(start) + "\n")
    (tmp_path / "run/model/scores.json").write_text('{"test": {"bleu": {"value": 12.5, "signature": "x"}}}')
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    loaded = seqx.load(model)
    assert facts["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())
    for column, vocabulary in facts["vocabulary"].items():
        assert vocabulary["size"] == loaded.task.vocab_sizes[column]
        assert 0 < len(vocabulary["symbols"]) <= 12
    assert facts["data"]["examples"] == 12
    text = CliRunner().invoke(main, ["inspect", str(tmp_path / "run"), "--depth", "2"]).output
    assert f"run/model: {facts['parameters']:,} parameters" in text
    assert "12 training examples" in text
    assert text.endswith("test bleu 12.50  x\n")


def test_inspect_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.startswith(f"{tmp_path}: ")
    assert "Traceback" not in result.output
