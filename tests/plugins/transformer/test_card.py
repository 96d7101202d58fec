"""The licence and the scores in the card of an exported model."""

import re
from dataclasses import replace
from pathlib import Path

import yaml

import seqx
from seqx_transformer.export.card import write_card
from tests.exported import random_model


def test_model_card_states_the_licence(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model")
    for licence, stated in (
        (None, {"license": "other", "license_name": "not-stated"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
    ):
        write_card(replace(model, license=licence), tmp_path, "a program", ["package"], "print()\n")
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        fields = yaml.safe_load(card.split("---")[1])
        assert fields == {"library_name": "package", **stated, "tags": ["seqx"]}
        assert ("No licence is stated" in card) == (licence is None)


def test_signature_stays_in_its_cell(tmp_path: Path) -> None:
    scores = {"test": {"bleu": seqx.Score(value=20.5, signature="nrefs:1|case:mixed")}}
    model = replace(random_model(tmp_path / "model"), scores=scores)
    write_card(model, tmp_path, "a program", ["package"], "print()\n")
    (row,) = re.findall(r"^\| test .*", (tmp_path / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row == r"| test | bleu | 20.50 | `nrefs:1\|case:mixed` |"
