"""The rows of Table 3 of Vaswani et al. 2017 relative to the base model, here and in the paper.

    python -m benchmarks.table3 table3.json

The argument is a record of the sweep benchmarks/sweeps/table3.yaml, which `benchmarks.record_sweep` writes.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.paths import input_file
from seqx import markdown_table


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


def main() -> None:
    """Print the table of a record."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("record", type=input_file, help="JSON record of the sweep")
    runs = json.loads(parser.parse_args().record.read_text(encoding="utf-8"))["runs"]
    print("\n".join(against_base(runs)))


if __name__ == "__main__":
    main()
