"""The rows of Table 3 of Vaswani et al. 2017, trained one after another and laid side by side.

    SEQX_DATA=... nohup python -m benchmarks.table3 --workers 2 --out table3.json &
    python -m benchmarks.table3 --full --device cuda --out table3.json

The first has them on Multi30k in the paper's ratios, the second in the paper's size, for a GPU. Given again,
the command goes on where it was stopped: finished rows are not trained again. More settings may follow as
KEY=VALUE; they hold for all rows.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.background import Job, one_thread, told, work
from seqx.recipe import named
from seqx_watch.table import markdown

PREFIX = "table3/"


def rows() -> list[str]:
    """The rows: base first, big last, the others by their names with rising numbers."""
    found = [name.removeprefix(PREFIX) for name in named() if name.startswith(PREFIX)]
    return sorted(found, key=lambda row: (row != "base", row == "big", *_numbers(row)))


def _numbers(row: str) -> tuple[str, int]:
    name, _, number = row.rpartition("_")
    return (name, int(number)) if re.fullmatch(r"\d+", number) else (row, 0)


def jobs(
    chosen: Sequence[str], folder: Path, *, full: bool, device: str, overrides: Sequence[str]
) -> list[Job]:
    """A run for each row."""
    profile = [] if full else ["--profile", "multi30k"]
    return [
        Job(row, [PREFIX + row, *profile, "--device", device, *overrides], folder / row) for row in chosen
    ]


def against_base(compared: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How rows stand to the base, here and in the paper: points of BLEU, and the factor of perplexity."""
    base = compared[0]
    lines = []
    for row in compared[1:]:
        here, there = _stand(row), _published(row)
        ours, theirs = _stand(base), _published(base)
        lines.append(
            [
                row["run"],
                _signed(here["bleu"], ours["bleu"]),
                _signed(there["bleu"], theirs["bleu"]),
                _factor(here["perplexity"], ours["perplexity"]),
                _factor(there["perplexity"], theirs["perplexity"]),
            ]
        )
    yield from markdown(["row", "BLEU - base", "in the paper", "perplexity / base", "in the paper"], lines)


def _stand(row: Mapping[str, Any]) -> dict[str, float | None]:
    """BLEU, by the metric that counts first, and perplexity on the development set."""
    scores = list(row["scores"].get("dev", {}).values())
    return {"bleu": scores[0]["value"] if scores else None, "perplexity": row["perplexity"].get("dev")}


def _published(row: Mapping[str, Any]) -> dict[str, float | None]:
    """The same of the paper, where the recipe names it."""
    dev = (row["published"] or {}).get("dev") or {}
    return {"bleu": dev.get("paper_bleu"), "perplexity": dev.get("perplexity")}


def _signed(value: float | None, base: float | None) -> str:
    return "-" if value is None or base is None else f"{value - base:+.2f}"


def _factor(value: float | None, base: float | None) -> str:
    return "-" if value is None or base is None else f"{value / base:.3f}"


def main() -> int:
    """Train what is not trained yet, and print the table; exit code 1 when a row failed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--folder", type=Path, help="of the runs; runs/table3-multi30k, with --full runs/table3"
    )
    parser.add_argument("--rows", nargs="+", choices=rows(), default=rows(), help="some of the rows")
    parser.add_argument("--workers", type=int, default=1, help="rows trained at a time, each by one thread")
    parser.add_argument("--full", action="store_true", help="WMT 2014 and the paper's sizes and updates")
    parser.add_argument("--device", default="auto", help="as of seqx run")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    folder = arguments.folder or Path("runs", "table3" if arguments.full else "table3-multi30k")
    chosen = jobs(
        arguments.rows,
        folder,
        full=arguments.full,
        device=arguments.device,
        overrides=arguments.overrides,
    )
    failed = work(chosen, arguments.workers, {} if arguments.full else one_thread())
    about = {"full": arguments.full, "overrides": arguments.overrides}
    compared = told(chosen, failed, about, arguments.out)
    if len(compared) > 1 and compared[0]["run"] == "base":
        print("", *against_base(compared), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
