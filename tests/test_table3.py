"""Table 3 of Vaswani et al. 2017: each row's recipe has the parameters and settings printed there."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Registry
from seqx.recipe import Configured, check, differences, included_recipes, load
from seqx.training.description import Experiment
from seqx.training.preflight import count_parameters
from tests.stories.tiny import done

ROOT = Path(__file__).parents[1]
PADDED = 40_960  # the size to which tensor2tensor pads the vocabulary


class Row(NamedTuple):
    """A row of the table; `varied` has the settings that differ from the base model."""

    perplexity: float
    bleu: float
    millions: int
    varied: Mapping[str, Any]


BASE = {"N": 6, "d_model": 512, "d_ff": 2048, "h": 8, "d_k": 64, "d_v": 64, "P_drop": 0.1, "smoothing": 0.1}
TABLE = {
    "base": Row(4.92, 25.8, 65, {}),
    "A_heads_1": Row(5.29, 24.9, 65, {"h": 1, "d_k": 512, "d_v": 512}),
    "A_heads_4": Row(5.00, 25.5, 65, {"h": 4, "d_k": 128, "d_v": 128}),
    "A_heads_16": Row(4.91, 25.8, 65, {"h": 16, "d_k": 32, "d_v": 32}),
    "A_heads_32": Row(5.01, 25.4, 65, {"h": 32, "d_k": 16, "d_v": 16}),
    "B_keys_16": Row(5.16, 25.1, 58, {"d_k": 16}),
    "B_keys_32": Row(5.01, 25.4, 60, {"d_k": 32}),
    "C_layers_2": Row(6.11, 23.7, 36, {"N": 2}),
    "C_layers_4": Row(5.19, 25.3, 50, {"N": 4}),
    "C_layers_8": Row(4.88, 25.5, 80, {"N": 8}),
    "C_width_256": Row(5.75, 24.5, 28, {"d_model": 256, "d_k": 32, "d_v": 32}),
    "C_width_1024": Row(4.66, 26.0, 168, {"d_model": 1024, "d_k": 128, "d_v": 128}),
    "C_feedforward_1024": Row(5.12, 25.4, 53, {"d_ff": 1024}),
    "C_feedforward_4096": Row(4.75, 26.2, 90, {"d_ff": 4096}),
    "D_dropout_0": Row(5.77, 24.6, 65, {"P_drop": 0.0}),
    "D_dropout_20": Row(4.95, 25.5, 65, {"P_drop": 0.2}),
    "D_smoothing_0": Row(4.67, 25.3, 65, {"smoothing": 0.0}),
    "D_smoothing_20": Row(5.47, 25.7, 65, {"smoothing": 0.2}),
    "E_learned_positions": Row(4.92, 25.7, 65, {}),
    "big": Row(4.33, 26.4, 213, {"d_model": 1024, "d_ff": 4096, "h": 16, "P_drop": 0.3}),
}
ROWS_EXCEPT_BIG = [name for name in TABLE if name != "big"]


@cache
def registry() -> Registry:
    return load_plugins().registry


@cache
def configured(row: str, profile: str | None = None, *overrides: str) -> Configured[Experiment]:
    return check(load(f"table3/{row}", profile, overrides).tree, registry(), Experiment)


@cache
def parameters_of(row: str, *overrides: str) -> int:
    return count_parameters(configured(row, None, *overrides)())


def settings(plain: Any) -> list[dict[str, Any]]:
    """Return the columns of the table for the encoder and for the decoder."""
    model = plain["model"]
    return [
        {
            "N": side["layers"],
            "d_model": model["d_model"],
            "d_ff": side["feedforward"]["width"],
            "h": side["attention"]["heads"],
            "d_k": side["attention"]["d_k"] or model["d_model"] // side["attention"]["heads"],
            "d_v": side["attention"]["d_v"] or model["d_model"] // side["attention"]["heads"],
            "P_drop": side["dropout"],
            "smoothing": plain["training"]["objective"]["smoothing"],
        }
        for side in (model["encoder"], model["decoder"])
    ]


def test_each_row_has_a_recipe() -> None:
    assert {name for name in included_recipes() if name.startswith("table3/")} == {
        f"table3/{row}" for row in TABLE
    }


@pytest.mark.parametrize("row", TABLE)
def test_recipe_has_the_settings_and_scores_of_its_row(row: str) -> None:
    plain = configured(row).plain()
    row_of_paper = TABLE[row]
    assert plain["published"] == {
        "source": "Vaswani et al. 2017, table 3",
        "parameters": row_of_paper.millions * 1e6,
        "dev": {"paper_bleu": row_of_paper.bleu, "perplexity": row_of_paper.perplexity},
        "test": None,
    }
    assert settings(plain) == [{**BASE, **row_of_paper.varied}] * 2
    position = "learned" if row.startswith("E") else "sinusoidal"
    sides = plain["model"]["encoder"], plain["model"]["decoder"]
    assert [side["positions"]["type"] for side in sides] == [position] * 2
    training = plain["training"]
    assert training["average"] == 1
    assert training["steps"] == (300_000 if row == "big" else 100_000)
    peak = (plain["model"]["d_model"] * training["schedule"]["warmup"]) ** -0.5
    assert training["schedule"]["peak"] == pytest.approx(peak, rel=2e-3)


@pytest.mark.parametrize("row", ROWS_EXCEPT_BIG)
def test_parameters_match_the_table_with_the_padded_vocabulary_of_tensor2tensor(row: str) -> None:
    parameters = parameters_of(row, f"task.tokenizer.size={PADDED}")
    if row == "C_feedforward_1024":  # 52.48 million, which the paper prints as 53
        assert (round(parameters / 1e6, 1), TABLE[row].millions) == (52.5, 53)
    else:
        assert round(parameters / 1e6) == TABLE[row].millions


@pytest.mark.parametrize("row", TABLE)
def test_parameters_differ_from_the_table_with_the_vocabulary_of_the_paper(row: str) -> None:
    """With 37,000 symbols, most rows have fewer parameters than printed, and the big model has more."""
    recipe = configured(row)
    parameters, width = parameters_of(row), recipe.plain()["model"]["d_model"]
    assert recipe.plain()["task"]["tokenizer"]["size"] == 37_000
    assert parameters_of(row, f"task.tokenizer.size={PADDED}") - parameters == width * 3960
    difference = {"base": -2, "B_keys_32": -2, "C_width_256": -1, "C_width_1024": -4, "big": 1}
    expected = difference.get(row, difference["base"] if TABLE[row].millions != 53 else -3)
    assert round(parameters / 1e6) - TABLE[row].millions == expected


def test_no_single_vocabulary_size_matches_all_printed_parameters() -> None:
    """Each rounded number of parameters bounds the vocabulary size; the bound of the big model differs."""

    def size_bounds(row: str) -> tuple[float, float]:
        recipe = configured(row)
        width = recipe.plain()["model"]["d_model"]
        without_embeddings = parameters_of(row) - 37_000 * width
        low, high = ((TABLE[row].millions + half) * 1e6 for half in (-0.5, 0.5))
        return (low - without_embeddings) / width, (high - without_embeddings) / width

    lows, highs = zip(*map(size_bounds, ROWS_EXCEPT_BIG), strict=True)
    assert 37_000 < PADDED < max(lows) < 41_100 < min(highs)
    low, high = size_bounds("big")
    assert low < 36_000 < high < 37_000


SCALES = {"N": 1 / 2, "d_model": 1 / 4, "d_ff": 1 / 4, "h": 1 / 2, "d_k": 1 / 2, "d_v": 1 / 2}


@pytest.mark.parametrize("row", TABLE)
def test_profile_multi30k_scales_all_rows_by_the_same_factors(row: str) -> None:
    plain = configured(row, "multi30k").plain()
    scaled = {name: value * SCALES.get(name, 1) for name, value in {**BASE, **TABLE[row].varied}.items()}
    if row == "A_heads_1":
        scaled |= {"h": 1, "d_k": 128, "d_v": 128}  # half a head is impossible
    assert settings(plain) == [scaled] * 2
    base = configured("base", "multi30k").plain()
    training, width = plain["training"], plain["model"]["d_model"]
    assert training["schedule"]["peak"] == pytest.approx(3e-3 * (128 / width) ** 0.5, rel=2e-3)
    different = differences({**base, "published": None}, {**plain, "published": None})
    allowed = {"schedule", "objective", "save_every"}
    assert all(key.startswith("model.") or key.split(".")[1] in allowed for key in different)
    assert training["steps"] == 1000
    assert plain["published"]["parameters"] == TABLE[row].millions * 1e6
    assert "full size" in plain["published"]["source"]


@pytest.mark.usefixtures("small_multi30k")
def test_row_of_table_3_is_trained_on_multi30k_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["task.tokenizer.size=500", "training.steps=2", "training.tokens=200"]
    short += ["model.d_model=64", "model.encoder.feedforward.width=64", "model.decoder.feedforward.width=64"]
    search = "search={type: greedy, ratio: 0, extra: 1}"
    printed = done("run", "table3/C_layers_2", "--profile", "multi30k", *short, search)
    assert "published dev perplexity 6.11  Vaswani et al. 2017, table 3, at full size" in printed
    assert "\nmodel: runs/table3/C_layers_2-multi30k/model\n" in printed
    assert re.search(
        r"\| C_layers_2-multi30k \| [\d,]+ \(36,000,000\)", done("compare", *tmp_path.glob("runs/*/*"))
    )
    assert done("check", ROOT / "recipes/table3/base.yaml").endswith(": 63,045,632 parameters\n")
