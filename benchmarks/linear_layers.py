"""Time of a linear map with few rows on a CPU, by the layout and the number format of its weight.

    python -m benchmarks.linear_layers --out linear_layers.json
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.linear_layers   # without AVX-512
    python -m benchmarks.linear_layers --decode                                           # whole models

All ways of computing the map are timed in turn in each round. The table has the median ratio of the time
of `F.linear` in float32 to the time of each way in the same round, so larger is faster. `--decode` translates
with Transformers of random weights instead, and compares packed weights (seqx.inference.packing) with plain
ones: the ratio of times with each number format.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.decoding import TokenIds, transformer
from benchmarks.paths import output_file
from benchmarks.provenance import provenance, write_record
from seqx.inference import Predictor
from seqx.inference.packing import pack
from seqx.interfaces.tensors import UNK
from seqx.runtime.packed_weights import Int8, OneDNN, OneDNNBf16
from seqx.runtime.precision import ComputePrecision, has_bf16, has_int8
from seqx_search import Beam

CPU = torch.device("cpu")
SHAPES = [
    (128, 128),
    (256, 256),
    (512, 512),
    (512, 1536),
    (512, 2048),
    (2048, 512),
    (512, 8000),
    (512, 37000),
]
SHOWN_INPUTS, SHOWN_ROWS = (256, 512), (4, 64)  # in the table
ROWS = [1, 4, 8, 16, 40, 64, 128, 256]
CASES = [(1, 14), (8, 10)]  # sentences, tokens of each
WIDTH, DEPTH, SYMBOLS = 512, 6, 8000
SUPPORTED: Mapping[ComputePrecision, bool] = {"fp32": True, "bf16": has_bf16(CPU), "int8": has_int8()}
PRECISIONS = [precision for precision, supported in SUPPORTED.items() if supported]
SECONDS = 0.01  # the time of one implementation in one round

Map = Callable[[Tensor], Tensor]


def implementations(inputs: int, outputs: int) -> Mapping[str, Map]:
    """Return the implementations of one linear map, by name."""
    weight, bias = torch.randn(outputs, inputs) * inputs**-0.5, torch.randn(outputs)
    column = weight.t().contiguous()
    half, half_bias = weight.bfloat16(), bias.bfloat16()
    onednn = OneDNN(weight)
    found: dict[str, Map] = {
        "F.linear": lambda x: F.linear(x, weight, bias),
        "(W x')'": lambda x: torch.addmm(bias[:, None], weight, x.t()).t(),
        "x (W')": lambda x: torch.addmm(bias, x, column),
        "oneDNN": lambda x: onednn.linear(x, bias),
    }
    if has_bf16(CPU):
        packed_half = OneDNNBf16(weight)
        found["F.linear bf16"] = lambda x: F.linear(x.bfloat16(), half, half_bias)
        found["oneDNN bf16"] = lambda x: packed_half.linear(x, bias)
    if has_int8():
        int8 = Int8(weight)
        found["int8"] = lambda x: int8.linear(x, bias)
        found["int8, one scale"] = lambda x: torch.ops.quantized.linear_dynamic(x, int8._packed, True)  # noqa: SLF001
        integers = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8).t()
        found["_int_mm"] = lambda x: torch._int_mm(x.to(torch.int8), integers)  # noqa: SLF001
    return found


def calls(function: Callable[[], object], seconds: float) -> int:
    """Call the function twice; return the number of calls that take about `seconds`."""
    function()
    start = time.perf_counter()
    function()
    return max(1, int(seconds / (time.perf_counter() - start)))


def times(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of one call of each function in each round."""
    numbers = {name: calls(function, SECONDS) for name, function in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(numbers[name]):
                function()
            seconds[name].append((time.perf_counter() - start) / numbers[name])
    return seconds


def ratios(seconds: Mapping[str, list[float]], first: str) -> dict[str, list[float]]:
    """Return the quartiles of the ratio of the time of `first` to that of each function in the same round."""
    return {
        name: [
            round(q, 3)
            for q in statistics.quantiles([a / b for a, b in zip(seconds[first], values, strict=True)], n=4)
        ]
        for name, values in seconds.items()
    }


def layers(rounds: int) -> list[dict[str, Any]]:
    """Measure and print all shapes and numbers of rows."""
    results = []
    for inputs, outputs in SHAPES:
        found = implementations(inputs, outputs)
        for rows in ROWS:
            x = torch.randn(rows, inputs)
            seconds = times({name: partial(f, x) for name, f in found.items()}, rounds)
            compared = ratios(seconds, "F.linear")
            micro = round(1e6 * statistics.median(seconds["F.linear"]), 1)
            results.append(
                {"inputs": inputs, "outputs": outputs, "rows": rows, "us": micro, "ratios": compared}
            )
            cells = "  ".join(f"{name} {q[1]:.2f}" for name, q in compared.items() if name != "F.linear")
            print(f"{inputs:4d} -> {outputs:5d}, {rows:3d} rows: {micro:8.1f} us; {cells}", flush=True)
    return results


def predictors(width: int, layers: int, symbols: int) -> dict[str, Predictor]:
    """Return predictors of one model with random weights: with each precision, plain and packed."""
    task = TokenIds(symbols)
    found = {}
    for precision in PRECISIONS:
        for packed in (False, True):
            if packed or precision != "int8":
                model = transformer(task, width, layers)
                if packed:
                    pack(model, precision)
                name = f"{precision}{'' if packed else ', plain'}"
                found[name] = Predictor(task, model, Beam(size=4, extra=0), device=CPU, precision=precision)
    return found


def decode(rounds: int) -> list[dict[str, Any]]:
    """Measure and print whole models."""
    found, results = predictors(WIDTH, DEPTH, SYMBOLS), []
    rng = random.Random(1)  # noqa: S311  # no secret
    for sentences, length in CASES:
        lines = [
            " ".join(str(rng.randrange(UNK + 1, SYMBOLS)) for _ in range(length)) for _ in range(sentences)
        ]
        seconds = times({name: partial(p, lines) for name, p in found.items()}, rounds)
        compared = ratios(seconds, "fp32, plain")
        first = round(statistics.median(seconds["fp32, plain"]), 3)
        results.append({"sentences": sentences, "tokens": length, "seconds": first, "ratios": compared})
        cells = "  ".join(f"{name} {q[1]:.2f} ({q[0]:.2f}-{q[2]:.2f})" for name, q in compared.items())
        print(f"{sentences} sentences of {length} tokens: {first} s; {cells}", flush=True)
    return results


def decoding_table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of the ratios of a record of whole models: medians and quartiles."""
    first, *others = record["results"][0]["ratios"]
    yield f"| sentences, tokens of each | {first}, s | {' | '.join(others)} |"
    yield "|---" * (2 + len(others)) + "|"
    for case in record["results"]:
        quartiles = (case["ratios"][name] for name in others)
        cells = (f"{middle:.2f} ({low:.2f} to {high:.2f})" for low, middle, high in quartiles)
        yield f"| {case['sentences']}, {case['tokens']} | {case['seconds']:.2f} | {' | '.join(cells)} |"


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of the median ratios of a record."""
    first, *others = record["results"][0]["ratios"]
    yield f"| linear map, rows | {first}, us | {' | '.join(others)} |"
    yield "|---" * (2 + len(others)) + "|"
    for case in record["results"]:
        if case["rows"] in SHOWN_ROWS and case["inputs"] in SHOWN_INPUTS:
            cells = (f"{case['ratios'][name][1]:.1f}" for name in others)
            name = f"{case['inputs']} to {case['outputs']:,}, {case['rows']}"
            yield f"| {name} | {case['us']:,.0f} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--decode", action="store_true", help="measure whole models")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    args = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        results = decode(args.rounds) if args.decode else layers(args.rounds)
    limits = {name: os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")}
    record = {**provenance(), "threads": torch.get_num_threads(), "limits": limits, "results": results}
    write_record(record, args.out)


if __name__ == "__main__":
    main()
