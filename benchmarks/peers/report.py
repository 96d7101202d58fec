"""Tables of a record: medians of the rates, and medians and ranges of the ratios of each round."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seqx import markdown_table


def ratios(part: Mapping[str, Any], case: str, name: str) -> list[float]:
    """Return seqx's rate divided by that of a contestant, in each round that has both."""
    both = [record["replies"].get(case, {}) for record in part["rounds"]]
    baseline = part["baseline"]
    return [
        replies[baseline]["rate"] / replies[name]["rate"]
        for replies in both
        if {baseline, name} <= {*replies}
    ]


def tables(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables of all parts, and the reasons for what was left out."""
    for name, part in record["parts"].items():
        yield f"## {name}"
        yield ""
        yield from _part(part) if "rounds" in part else [f"left out: {part['reason']}"]
        yield ""
    for toolkit, reason in record.get("not_installed", {}).items():
        yield f"{toolkit} was left out: {reason}"


def decoding_table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of decoding in a record."""
    yield from _part(record["parts"]["decoding"])


def training_table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of training in a record, one for each size."""
    for name, part in record["parts"].items():
        if name.startswith("training"):
            yield from _part(part)


def commands_table(size: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of the training commands for a size in a record."""
    yield from _part(record["parts"][f"commands {size}"])


def preparation_table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of preparation in a record."""
    yield from _part(record["parts"]["preparation"])


def _part(part: Mapping[str, Any]) -> Iterator[str]:
    rates = [measured["matmul_gflops"] for measured in part["rounds"]]
    cases = dict.fromkeys(case for measured in part["rounds"] for case in measured["replies"])
    for case in cases:
        yield f"{case}, {len(part['rounds'])} rounds, matrix products {_range(rates, 0)} GFLOP/s:"
        yield ""
        rows = [_row(part, case, name) for name in _contestants(part, case)]
        head = ["", f"{part['unit']}/s", "share of matmul", "seqx / it", "peak MB", "equal lines"]
        if _has_cpu_seconds(part, case):
            head.append("CPU s")
        yield from markdown_table(head, rows)
        yield ""
    for name, difference in part.get("logprob_differences", {}).items():
        if name != part["baseline"]:
            yield f"{name}: log-probabilities differ from those of seqx by at most {difference:.1e}"
    for name, reason in {**part.get("left_out", {}), **part.get("skipped", {})}.items():
        yield f"{name}: left out: {reason}"


def _has_cpu_seconds(part: Mapping[str, Any], case: str) -> bool:
    """Return true if commands were measured, whose CPU time is known."""
    replies = (reply for measured in part["rounds"] for reply in measured["replies"].get(case, {}).values())
    return all("cpu_seconds" in reply for reply in replies)


def _contestants(part: Mapping[str, Any], case: str) -> list[str]:
    """Return the names of those that were measured, seqx first."""
    names = dict.fromkeys(n for measured in part["rounds"] for n in sorted(measured["replies"].get(case, {})))
    return sorted(names, key=lambda name: (name != part["baseline"], name))


def _row(part: Mapping[str, Any], case: str, name: str) -> list[str]:
    rounds = [record for record in part["rounds"] if name in record["replies"].get(case, {})]
    rates = [record["replies"][case][name]["rate"] for record in rounds]
    share = "-"
    if "megaflop_per_unit" in part:
        shares = [
            rate * part["megaflop_per_unit"] / 1e3 / record["matmul_gflops"]
            for rate, record in zip(rates, rounds, strict=True)
        ]
        share = f"{statistics.median(shares):.2f}"
    row = [
        name,
        f"{statistics.median(rates):,.4g}",
        share,
        _range(ratios(part, case, name), 2),
        f"{part['peak_mb'].get(name, 0):,}",
        part.get("equal_lines", {}).get(case, {}).get(name, "-"),
    ]
    if _has_cpu_seconds(part, case):
        row.append(_range([record["replies"][case][name]["cpu_seconds"] for record in rounds], 1))
    return row


def _range(values: Sequence[float], digits: int) -> str:
    """Return the median and, of several values, the range."""
    if not values:
        return "-"
    median = f"{statistics.median(values):.{digits}f}"
    return f"{median} ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(values) > 1 else median
