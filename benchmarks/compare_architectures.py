"""A comparison of the Transformer, LSTM, ConvS2S and a hybrid on Multi30k, with the same number of updates.

    export SEQX_DATA=...
    nohup python -m benchmarks.compare_architectures --workers 2 --out compare_architectures.json &
    python -m benchmarks.compare_architectures --full --device cuda --out compare_architectures.json
    python -m benchmarks.compare_architectures --mixtures --steps 600 --out mixtures.json training.tokens=2048

Each run uses the settings of its recipe, except the number of updates: all runs make `--steps` updates, and a
quarter of them are warm-up. With `--full` each run makes as many updates as its recipe says. `--mixtures`
compares the profiles of multi30k_hybrid instead. If a command is stopped, the same command resumes: finished
runs are not repeated. Overrides (KEY=VALUE) apply to all runs.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.background import Job, one_thread, report, work

RECIPES = ("multi30k_en_de", "multi30k_lstm", "multi30k_convs2s", "multi30k_hybrid")
MIXTURES = (
    "lstm_convolution",
    "transformer_lstm",
    "transformer_input_feeding",
    "transformer_convolution",
    "lstm_transformer",
    "convolution_transformer",
    "convolution_lstm",
)
"""Profiles of multi30k_hybrid, named ENCODER_DECODER."""


def main() -> int:
    """Train the unfinished runs and print a table; return 1 if a run failed, else 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/compare_architectures"), help="parent of the run folders"
    )
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="recipes to compare")
    parser.add_argument("--mixtures", action="store_true", help="compare the profiles of multi30k_hybrid")
    parser.add_argument("--steps", type=int, default=1500, help="number of updates")
    parser.add_argument("--full", action="store_true", help="use the number of updates of each recipe")
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time, with one thread each")
    parser.add_argument("--device", default="auto", help="device, as in seqx run")
    parser.add_argument("--out", type=Path, help="file for the JSON record")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    settings = [name for name in arguments.recipes if "=" in name]
    if settings:
        parser.error(f"{' '.join(settings)}: put overrides before --recipes or after --")
    warmup = max(1, arguments.steps // 4)
    short = [
        f"training.steps={arguments.steps}",
        f"training.schedule.warmup={warmup}",
        f"training.validate_every={arguments.steps}",
    ]
    overrides = [*([] if arguments.full else short), "published=null", *arguments.overrides]
    recipes = {Path(recipe).stem: [recipe] for recipe in arguments.recipes}
    if arguments.mixtures:
        recipes = {name: ["multi30k_hybrid", "--profile", name] for name in MIXTURES}
    chosen = [
        Job(name, [*recipe, *overrides, "--device", arguments.device], arguments.folder / name)
        for name, recipe in recipes.items()
    ]
    failed = work(chosen, arguments.workers, one_thread() if arguments.device in {"auto", "cpu"} else {})
    about = {"steps": None if arguments.full else arguments.steps, "overrides": arguments.overrides}
    report(chosen, failed, about, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
