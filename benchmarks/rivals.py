"""The Transformer and its rivals on Multi30k, trained for as many updates and laid side by side.

    SEQX_DATA=... nohup python -m benchmarks.rivals --workers 2 --out rivals.json &
    python -m benchmarks.rivals --full --device cuda --out rivals.json
    python -m benchmarks.rivals --mixtures --steps 600 --out mixtures.json training.tokens=2048

Each has its recipe's settings but for the number of updates, of which a quarter is the warm-up; with --full
that, too. The third lays the profiles of the mixture, multi30k_hybrid, side by side, to find the best. Given
again, a command goes on where it was stopped: finished runs are not trained again. More settings may follow
as KEY=VALUE; they hold for all.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.background import Job, one_thread, told, work

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
"""Profiles of multi30k_hybrid: what reads, and what writes."""


def main() -> int:
    """Train what is not trained yet, and print a table; exit code 1 when something failed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, default=Path("runs/rivals"), help="of the runs")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="others than these four")
    parser.add_argument("--mixtures", action="store_true", help="the profiles of multi30k_hybrid instead")
    parser.add_argument("--steps", type=int, default=1500, help="updates")
    parser.add_argument("--full", action="store_true", help="as many updates as the recipes say")
    parser.add_argument("--workers", type=int, default=1, help="trained at a time, each by one thread")
    parser.add_argument("--device", default="auto", help="as of seqx run")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    settings = [name for name in arguments.recipes if "=" in name]
    if settings:
        parser.error(f"{' '.join(settings)}: settings stand before --recipes or behind --")
    warmup = max(1, arguments.steps // 4)
    shorter = [
        f"training.steps={arguments.steps}",
        f"training.schedule.warmup={warmup}",
        f"training.validate_every={arguments.steps}",
    ]
    asked = [*([] if arguments.full else shorter), "published=null", *arguments.overrides]
    recipes = {Path(recipe).stem: [recipe] for recipe in arguments.recipes}
    if arguments.mixtures:
        recipes = {name: ["multi30k_hybrid", "--profile", name] for name in MIXTURES}
    chosen = [
        Job(name, [*recipe, *asked, "--device", arguments.device], arguments.folder / name)
        for name, recipe in recipes.items()
    ]
    failed = work(chosen, arguments.workers, one_thread() if arguments.device in {"auto", "cpu"} else {})
    about = {"steps": None if arguments.full else arguments.steps, "overrides": arguments.overrides}
    told(chosen, failed, about, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
