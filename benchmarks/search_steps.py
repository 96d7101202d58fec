"""Parts of beam search on a CPU, with and without the methods by which seqx saves time.

    python -m benchmarks.search_steps --model MODEL --input test.en --out search_steps.json

Two methods are measured for several numbers of hypotheses and symbols: log-probabilities computed by
`log_softmax` instead of `logsumexp`, and the selection of the largest ones by blocks. With a model, three
more methods are measured for whole answers to the lines of a file: one cache for all hypotheses of a
sentence, one product for queries, keys and values, and caches from which columns are dropped. The times
without and with a method are measured in turn in each round. The ratio is the time without the method to
that with it, so larger is better.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import seqx
from benchmarks.linear_layers import ratios, times
from benchmarks.paths import input_file, model_path, output_file
from benchmarks.provenance import provenance, write_record
from seqx import markdown_table
from seqx.runtime.allocator import keep_heap
from seqx_search.beam import largest
from seqx_transformer import slots
from seqx_transformer.attention import MultiHeadAttention
from seqx_transformer.transformer import TransformerDecoder

SHAPES = [(4, 8000), (256, 2000), (256, 8000), (256, 37_000)]
"""Hypotheses and symbols."""

CANDIDATES = 7
"""Symbols of each hypothesis that beam search of size 4 selects."""

Variants = Mapping[str, Callable[[], object]]
Context = Callable[[], AbstractContextManager[object]]

WITHOUT: Mapping[str, Context] = {
    "one cache per sentence": partial(mock.patch.object, TransformerDecoder, "has_slots", new=False),
    "joined products": partial(mock.patch.object, MultiHeadAttention, "joins_projections", new=False),
    "columns dropped": partial(mock.patch.object, slots, "MIN_COLUMNS", 10**9),
}
"""The methods that save time in whole answers; the contexts switch them off."""


def steps(rounds: int, shapes: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Measure the parts of a step that follow the model."""
    for count, symbols in shapes:
        logits = torch.randn(count, symbols)
        variants: Mapping[str, Variants] = {
            "log-probabilities": {
                "without": partial(_subtract_normalizer, logits),
                "with": partial(logits.log_softmax, 1),
            },
            "selection": {
                "without": partial(logits.topk, CANDIDATES),
                "with": partial(largest, logits, CANDIDATES),
            },
        }
        for part, functions in variants.items():
            yield _result(f"{part}, {count} hypotheses, {symbols:,} symbols", times(functions, rounds))


def _subtract_normalizer(logits: Tensor) -> Tensor:
    """Return the log-probabilities of the selected symbols only."""
    return logits[:, :CANDIDATES] - logits.logsumexp(1, keepdim=True)


def answers(rounds: int, model: Path, lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure whole answers of a trained model."""
    predictor = seqx.load(model, device="cpu", precision="fp32")
    for method, switched_off in WITHOUT.items():
        # Weights that were joined once stay joined, so each method is switched off in a model of its own.
        changed = seqx.load(model, device="cpu", precision="fp32")
        functions: Variants = {
            "without": partial(_answers, changed, lines, switched_off),
            "with": partial(_answers, predictor, lines, nullcontext),
        }
        yield _result(f"{method}, {len(lines)} answers", times(functions, rounds))


def _answers(predictor: seqx.Predictor, lines: Sequence[str], context: Context) -> list[Any]:
    with context():
        return list(predictor(lines))


def _result(name: str, seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    milliseconds = {way: 1e3 * statistics.median(values) for way, values in seconds.items()}
    result = {"name": name, "milliseconds": milliseconds, "ratio": ratios(seconds, "without")["with"]}
    low, middle, high = result["ratio"]
    print(f"{name}: {milliseconds['with']:.3f} ms; {middle:.2f} ({low:.2f}-{high:.2f})", flush=True)
    return result


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record: median times, and medians and quartiles of the ratios."""
    rows = []
    for result in record["results"]:
        low, middle, high = result["ratio"]
        milliseconds = (f"{result['milliseconds'][way]:,.3f}" for way in ("without", "with"))
        rows.append([result["name"], *milliseconds, f"{middle:.2f} ({low:.2f} to {high:.2f})"])
    yield from markdown_table(["", "without, ms", "with, ms", "ratio"], rows)


def answers_table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the part of the table that is about whole answers."""
    yield from table({"results": [each for each in record["results"] if each["name"].endswith("answers")]})


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--model", type=model_path, help="folder of a trained Transformer")
    parser.add_argument("--input", type=input_file, help="file with the lines that the model answers")
    parser.add_argument("--lines", type=int, default=64, help="number of lines")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    args = parser.parse_args()
    torch.manual_seed(0)
    keep_heap()
    results = [*steps(args.rounds, SHAPES)]
    if args.model is not None:
        lines = args.input.read_text(encoding="utf-8").splitlines()[: args.lines]
        results += answers(args.rounds, args.model, lines)
    write_record({**provenance(), "threads": torch.get_num_threads(), "results": results}, args.out)


if __name__ == "__main__":
    main()
