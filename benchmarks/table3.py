"""A comparison of the rows of Table 3 of Vaswani et al. 2017.

    SEQX_DATA=... nohup python -m benchmarks.table3 --workers 2 --out table3.json &
    python -m benchmarks.table3 --full --device cuda --out table3.json

The first command trains small models on Multi30k, whose sizes have the paper's proportions. The second trains
the paper's models on WMT 2014, for which a GPU is needed. If a command is stopped, the same command resumes:
finished rows are not repeated. Overrides (KEY=VALUE) apply to all rows.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.background import Job, one_thread, report, work
from seqx import markdown_table
from seqx.recipe import included_recipes

PREFIX = "table3/"


def rows() -> list[str]:
    """Return the names of the rows: base first, big last, the others sorted by name and number."""
    names = [name.removeprefix(PREFIX) for name in included_recipes() if name.startswith(PREFIX)]
    return sorted(names, key=lambda row: (row != "base", row == "big", *_sort_key(row)))


def _sort_key(row: str) -> tuple[str, int]:
    """Split a name such as C_layers_2 into its text and its number; 0 without a number."""
    name, _, number = row.rpartition("_")
    return (name, int(number)) if re.fullmatch(r"\d+", number) else (row, 0)


def jobs(
    chosen: Sequence[str], folder: Path, *, full: bool, device: str, overrides: Sequence[str]
) -> list[Job]:
    """Return a run for each row."""
    profile = [] if full else ["--profile", "multi30k"]
    return [
        Job(row, [PREFIX + row, *profile, "--device", device, *overrides], folder / row) for row in chosen
    ]


def against_base(compared: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of BLEU differences and perplexity ratios to base, here and in the paper."""
    base = compared[0]
    lines = []
    for row in compared[1:]:
        ours, paper = _dev_scores(row), _published(row)
        our_base, paper_base = _dev_scores(base), _published(base)
        lines.append(
            [
                row["run"],
                _signed(ours["bleu"], our_base["bleu"]),
                _signed(paper["bleu"], paper_base["bleu"]),
                _factor(ours["perplexity"], our_base["perplexity"]),
                _factor(paper["perplexity"], paper_base["perplexity"]),
            ]
        )
    yield from markdown_table(
        ["row", "BLEU - base", "in the paper", "perplexity / base", "in the paper"], lines
    )


def _dev_scores(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the first score of a run (BLEU) and its perplexity on the development set."""
    scores = list(row["scores"].get("dev", {}).values())
    return {"bleu": scores[0]["value"] if scores else None, "perplexity": row["perplexity"].get("dev")}


def _published(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return BLEU and perplexity from the paper, if the recipe contains them."""
    dev = (row["published"] or {}).get("dev") or {}
    return {"bleu": dev.get("paper_bleu"), "perplexity": dev.get("perplexity")}


def _signed(value: float | None, base: float | None) -> str:
    return "-" if value is None or base is None else f"{value - base:+.2f}"


def _factor(value: float | None, base: float | None) -> str:
    return "-" if value is None or base is None else f"{value / base:.3f}"


def main() -> int:
    """Train the unfinished rows and print the tables; return 1 if a row failed, else 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--folder",
        type=Path,
        help="parent of the run folders; default: runs/table3-multi30k, or runs/table3 with --full",
    )
    parser.add_argument("--rows", nargs="+", choices=rows(), default=rows(), help="rows to train")
    parser.add_argument("--workers", type=int, default=1, help="rows at the same time, with one thread each")
    parser.add_argument(
        "--full", action="store_true", help="use WMT 2014 and the sizes and updates of the paper"
    )
    parser.add_argument("--device", default="auto", help="device, as in seqx run")
    parser.add_argument("--out", type=Path, help="file for the JSON record")
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
    compared = report(chosen, failed, about, arguments.out)
    if len(compared) > 1 and compared[0]["run"] == "base":
        print("", *against_base(compared), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
