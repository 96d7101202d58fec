"""Exact losses, scores and answers of five recipes, to compare two versions of seqx.

    python -m benchmarks.compare_versions --out before.json
    python -m benchmarks.compare_versions --against before.json

Each recipe trains on the generated sample for 40 updates in fp32 with one thread. The record has the losses
of the first ten updates, the scores and the first answers. Floating-point results depend on the CPU, so
compare two versions on one machine. The exit code of `--against` is 1 if a value differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.paths import input_file, output_file
from benchmarks.provenance import ROOT, provenance

RECIPES = {  # the recipe and the profiles that train it on the generated sample
    "translation": ("wmt_en_de", ["sample"]),
    "parsing": ("wsj_parsing", ["sample"]),
    "language model": ("language_model", ["sample"]),
    "LSTM": ("multi30k_lstm", ["sample"]),
    "ConvS2S": ("compare_components", ["encoder_convolution", "decoder_convolution"]),
}
UPDATES = 40
LOSSES = 10
ANSWERS = 8


def measure(recipe: str, profiles: list[str], folder: Path) -> dict[str, Any]:
    """Train a recipe on the sample; return its first losses, its scores and its first answers."""
    settings = [
        "training.precision=fp32",
        f"training.steps={UPDATES}",
        f"training.validate_every={UPDATES}",
        f"training.save_every={UPDATES}",
        "callbacks=[{type: metrics, every: 1}]",
    ]
    run = [sys.executable, "-m", "seqx", "run", str(ROOT / "recipes" / f"{recipe}.yaml")]
    options = ["--folder", str(folder), "--device", "cpu", "--threads", "1"]
    options += [option for profile in profiles for option in ("--profile", profile)]
    subprocess.run([*run, *options, *settings], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "update"][:LOSSES]
    outputs = folder / "outputs" / "dev.txt"
    answers = outputs.read_text(encoding="utf-8").splitlines() if outputs.is_file() else []
    return {
        "losses": losses,
        "scores": json.loads((folder / "model" / "scores.json").read_text(encoding="utf-8")),
        "answers": answers[:ANSWERS],
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each value that differs between two records."""
    return [
        f"{recipe}: {part}: {before[recipe][part]} before, {now[recipe][part]} now"
        for recipe in before
        for part in before[recipe]
        if before[recipe][part] != now[recipe][part]
    ]


def main() -> None:
    """Train the recipes, and write the record or compare it with another one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    parser.add_argument("--against", type=input_file, help="earlier record to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(*recipe, Path(folder) / recipe[0]) for name, recipe in RECIPES.items()}
    if options.out:
        options.out.write_text(
            json.dumps({**provenance(), "pinned": results}, indent=2) + "\n", encoding="utf-8"
        )
    if options.against:
        different = differences(json.loads(options.against.read_text())["pinned"], results)
        print("\n".join(different) or f"no differences in {len(results)} recipes")
        sys.exit(bool(different))


if __name__ == "__main__":
    main()
