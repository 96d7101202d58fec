"""The record of the GPU benchmark as text."""

from collections.abc import Mapping
from typing import Any

_SHOWN = (
    ("device", "{}", ""),
    ("torch", "{}", "torch"),
    ("tflops", "{:.1f}", "TFLOP/s"),
    ("fraction_of_matmul", "{:.3f}", "of matmul speed"),
    ("terabytes_per_second", "{:.2f}", "TB/s"),
    ("target_tokens_per_second", "{:,.0f}", "target tokens/s"),
    ("useful_share", "{:.3f}", "of tokens not padding"),
    ("peak_memory_gib", "{:.1f}", "GiB"),
    ("first_updates_seconds", "{:.0f}", "s for the first updates"),
    ("milliseconds_per_update", "{:.1f}", "ms per update"),
    ("output_tokens_per_second", "{:,.0f}", "output tokens/s"),
    ("sentences_per_second", "{:,.1f}", "sentences/s"),
)


def format_record(record: Mapping[str, Any]) -> str:
    """Return a line for each part, each case and each seed."""
    lines = []
    for part, about in record["parts"].items():
        note = about.get("reason") or about.get("error", "").strip().rpartition("\n")[2]
        lines.append(f"{part}: {about['status']}" + (f" ({note})" if note else ""))
        for case in about["cases"]:
            lines.append(f"  {case['name']:<16} {_case(case)}")
            for seed in case.get("figures", {}).get("seeds", ()):
                scores = ", ".join(f"{name} {value:.2f}" for name, value in seed["test"].items())
                duration = f"{seed['updates']} updates, {seed['wall_seconds']:.0f} s"
                lines.append(f"    seed {seed['seed']}: {duration}; test {scores}")
    return "\n".join(lines)


def _case(case: Mapping[str, Any]) -> str:
    if case["status"] != "done":
        reason = case.get("reason") or case.get("error", "")
        return f"{case['status']}: {' '.join(reason.split())[:160]}"
    shown = (
        f"{form.format(case['figures'][name])} {unit}".strip()
        for name, form, unit in _SHOWN
        if case["figures"].get(name) is not None
    )
    return ", ".join(shown)
