"""Training in float32 on a CPU with the matrix products of torch's two libraries, MKL and oneDNN.

    python -m benchmarks.matrix_products --out matrix_products.json

The third way, "both", uses MKL if the first matrix would be copied for oneDNN, as in the gradient of a
weight, and the second has fewer than 1,024 columns; seqx does so on Zen 4. Each round times all ways in turn,
on products of the forward pass, of the gradient of the input and of the gradient of the weight, and then on
whole updates of the models of `benchmarks.peers`. A ratio is the time with MKL to that of another way in the
same round, so larger means that the other way is faster.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.linear_layers import ratios, times
from benchmarks.paths import output_file
from benchmarks.peers.adapters.seqx_adapter import training
from benchmarks.peers.sizes import EOS, SIZES, UNK, Pairs
from benchmarks.provenance import provenance, write_record
from seqx import markdown_table
from seqx.runtime.matrix_products import COPY_FROM, OneDNNProducts, onednn_is_faster

SHAPES = [
    (2048, 128, 512),
    (2048, 256, 1024),
    (2048, 1024, 256),
    (1024, 512, 512),
    (1024, 512, 2048),
    (1024, 2048, 512),
    (1024, 512, 8000),
]
"""Rows, inputs and outputs of linear maps."""

SYMBOLS, LENGTH = 8000, 25
"""Vocabulary and sentence length of whole updates."""

LIBRARIES: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "MKL": nullcontext,
    "oneDNN": partial(OneDNNProducts, copy_from=0),
    "both": partial(OneDNNProducts, copy_from=COPY_FROM),
}


def products(rounds: int, shapes: Sequence[tuple[int, int, int]]) -> Iterator[dict[str, Any]]:
    """Measure the three products of each linear map."""
    for rows, inputs, outputs in shapes:
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        bias, grad = torch.randn(outputs), torch.randn(rows, outputs)
        cases: Mapping[str, Callable[[], Tensor]] = {
            "output": partial(torch.addmm, bias, x, weight.t()),
            "gradient of the input": partial(torch.mm, grad, weight),
            "gradient of the weight": partial(torch.mm, grad.t(), x),
        }
        for name, product in cases.items():
            yield _compared(f"{rows} rows, {inputs} to {outputs:,}: {name}", product, rounds)


def _compared(name: str, product: Callable[[], Tensor], rounds: int) -> dict[str, Any]:
    def repeated(library: Callable[[], AbstractContextManager[None]]) -> Callable[[], None]:
        def call() -> None:
            with library():
                for _ in range(20):
                    product()

        return call

    seconds = times({key: repeated(library) for key, library in LIBRARIES.items()}, rounds)
    return _result(name, seconds, calls=20)


def updates(rounds: int, sizes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure whole updates of each size."""
    threads = torch.get_num_threads()
    for name in sizes:
        size = SIZES[name]
        rng = np.random.default_rng(1)
        ids = rng.integers(UNK + 1, SYMBOLS, (2, max(1, size.batch_tokens // LENGTH), LENGTH))
        ids[:, :, -1] = EOS
        pairs = Pairs(ids[0], ids[1])
        loops = {
            key: training(size, SYMBOLS, threads, products=library()) for key, library in LIBRARIES.items()
        }
        seconds = times({key: partial(loop, pairs) for key, loop in loops.items()}, rounds)
        yield _result(f"update of {pairs.tokens:,} target tokens, {name}", seconds, calls=1)


def _result(name: str, seconds: Mapping[str, list[float]], calls: int) -> dict[str, Any]:
    milliseconds = {key: 1e3 * statistics.median(values) / calls for key, values in seconds.items()}
    compared = ratios(seconds, "MKL")
    cells = "; ".join(f"{key} {_ratio(compared[key])}" for key in seconds if key != "MKL")
    print(f"{name}: {milliseconds['MKL']:.2f} ms with MKL; {cells}", flush=True)
    return {"name": name, "milliseconds": milliseconds, "ratios": compared}


def _ratio(quartiles: Sequence[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record: the median time with MKL, and medians and quartiles of the ratios."""
    others = [name for name in LIBRARIES if name in record["results"][0]["ratios"] and name != "MKL"]
    rows = [
        [
            result["name"],
            f"{result['milliseconds']['MKL']:,.2f}",
            *(_ratio(result["ratios"][name]) for name in others),
        ]
        for result in record["results"]
    ]
    yield from markdown_table(["", "MKL, ms", *others], rows)


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=["small", "base"], help="models")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="number of linear maps")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    args = parser.parse_args()
    torch.manual_seed(0)
    results = [*products(args.rounds, SHAPES[: args.shapes]), *updates(args.rounds, args.sizes)]
    about = {"threads": torch.get_num_threads(), "seqx_uses_onednn": onednn_is_faster()}
    record = {**provenance(), **about, "results": results}
    write_record(record, args.out)


if __name__ == "__main__":
    main()
