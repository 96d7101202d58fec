"""The Transformer and its rivals on Multi30k, trained for as many updates and laid side by side.

    SEQX_DATA=... nohup python -m benchmarks.rivals --workers 2 --out rivals.json &

Each has its recipe's settings but for the number of updates, of which a quarter is the warm-up. Given again,
the command goes on where it was stopped: finished runs are not trained again. More settings may follow as
KEY=VALUE; they hold for all.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.background import Job, one_thread, told, work

RECIPES = ("multi30k_en_de", "multi30k_lstm", "multi30k_convs2s", "multi30k_hybrid")


def main() -> int:
    """Train what is not trained yet, and print a table; exit code 1 when something failed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, default=Path("runs/rivals"), help="of the runs")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="others than these four")
    parser.add_argument("--steps", type=int, default=1500, help="updates")
    parser.add_argument("--workers", type=int, default=1, help="trained at a time, each by one thread")
    parser.add_argument("--device", default="auto", help="as of seqx run")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    shorter = [
        f"training.steps={arguments.steps}",
        f"training.schedule.warmup={max(1, arguments.steps // 4)}",
    ]
    cut = [*shorter, "published=null", "--device", arguments.device]
    chosen = [
        Job(Path(recipe).stem, [recipe, *cut, *arguments.overrides], arguments.folder / Path(recipe).stem)
        for recipe in arguments.recipes
    ]
    failed = work(chosen, arguments.workers, one_thread() if arguments.device in {"auto", "cpu"} else {})
    told(chosen, failed, {"steps": arguments.steps, "overrides": arguments.overrides}, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
