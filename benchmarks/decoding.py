"""Decoding speed, and the share of answers that depend on the other sentences of the batch.

    python benchmarks/decoding.py --out decoding.json                 # Transformer (base), random weights
    python benchmarks/decoding.py MODEL --input test.en --out d.json   # a trained model, real lines

Without a model, sources have the lengths of WMT, and each output is as long as its source, because a model
with random weights almost never predicts EOS. In this case only the speed is meaningful. With a trained
model, the share of changed answers is meaningful, too.

An answer counts as changed if the best answer in a full batch differs from the answer in a batch of one
sentence. All lines are decoded twice, and the second pass is timed.
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from seqx.inference import Predictor, load
from seqx.inference.packing import pack
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Generator
from seqx.interfaces.scores import Evaluation
from seqx.interfaces.task import Example, Rejected, Split, TextModel
from seqx.interfaces.tensors import EOS, UNK
from seqx.interfaces.text import SPLITS, ProgressReporter
from seqx.runtime.devices import device_of
from seqx.runtime.precision import ComputePrecision
from seqx.tasks.seq2seq import GenerationTask
from seqx_models import EncoderDecoder
from seqx_search import Beam, Greedy
from seqx_transformer import MultiHeadAttention, ReLU, TransformerDecoder, TransformerEncoder

VOCABULARY = 37_000


class TokenIds(GenerationTask):
    """A task whose texts are lists of token ids.

    Args:
        symbols: size of the vocabulary
    """

    def __init__(self, symbols: int = VOCABULARY) -> None:
        super().__init__()
        self.symbols_count = symbols

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """The same size for source and target."""
        return {"source": self.symbols_count, "target": self.symbols_count}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the ids in the text, and EOS."""
        return {"source": [*map(int, text.split()), EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the ids as a text."""
        return " ".join(map(str, ids))

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Do nothing; there is no corpus."""

    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Do nothing; the vocabulary is fixed."""

    def load(self, folder: Path) -> None:
        """Do nothing; the vocabulary is fixed."""

    def identity(self) -> Mapping[str, object]:
        """Return no identity."""
        return {}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Return no rows."""
        return iter(())

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """Reject every row."""
        return Rejected("all")

    def inputs(self, split: Split) -> list[str]:
        """Return random inputs with the lengths of WMT in subwords: 27 on average, at most 100."""
        rng = random.Random(1)  # noqa: S311  # no secret
        lengths = (min(100, max(1, round(rng.lognormvariate(3.15, 0.55)))) for _ in iter(int, 1))
        return [
            " ".join(str(rng.randrange(UNK + 1, self.symbols_count)) for _ in range(length))
            for length in islice(lengths, int(split.name))
        ]

    def references(self, split: Split) -> list[str]:
        """Return no references."""
        return []

    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Return no scores."""
        return Evaluation(scores={})


def transformer(task: TokenIds, width: int = 512, layers: int = 6) -> Generator:
    """Build a Transformer with random weights; the default is the base of Vaswani et al. 2017."""
    torch.manual_seed(0)
    attention = lambda d: MultiHeadAttention(d, heads=8)  # noqa: E731
    feedforward = lambda d: ReLU(d, width=4 * width)  # noqa: E731
    return EncoderDecoder(
        task.vocab_sizes,
        d_model=width,
        tie_embeddings="all",
        encoder=lambda d: TransformerEncoder(d, layers=layers, attention=attention, feedforward=feedforward),
        decoder=lambda d: TransformerDecoder(d, layers=layers, attention=attention, feedforward=feedforward),
    ).eval()


def timed(predictor: Predictor, lines: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Decode twice; return the speed and the answers of the second pass."""
    list(predictor.hypotheses(lines))
    start_time = time.perf_counter()
    answers = list(predictor.hypotheses(lines, len(lines)))
    seconds = time.perf_counter() - start_time
    tokens = sum(len(nbest[0][1].ids) + 1 for nbest in answers if nbest)
    speed = {
        "seconds": round(seconds, 3),
        "lines_per_second": round(len(lines) / seconds, 2),
        "output_tokens_per_second": round(tokens / seconds, 1),
        "output_tokens": tokens,
    }
    return speed, [nbest[0][0] if nbest else "" for nbest in answers]


def measure(args: argparse.Namespace, precision: ComputePrecision, size: int) -> dict[str, Any]:
    """Decode with one precision and one beam size: all lines in batches, and the first ones one by one."""
    if args.model:
        predictor = load(
            args.model,
            device=args.device,
            precision=precision,
            overrides=[f"search.size={size}"] if size > 1 else ["search={type: greedy}"],
            batch_tokens=args.batch_tokens,
        )
        lines = args.input.read_text(encoding="utf-8").removesuffix("\n").split("\n")[: args.lines]
    else:
        search: Search = Beam(size=size, extra=0) if size > 1 else Greedy(extra=0)
        device = device_of(args.device)
        model = transformer(TokenIds()).to(device)
        if device.type == "cpu":
            pack(model, precision)  # as `load` does
        predictor = Predictor(
            TokenIds(),
            model,
            search,
            device=device,
            precision=precision,
            batch_tokens=args.batch_tokens,
        )
        lines = predictor.task.inputs(Split(str(args.lines), ()))
    batched, answers = timed(predictor, lines)
    first_lines = lines[: args.alone]
    one_by_one = Predictor(
        predictor.task,
        predictor.model,
        predictor.search,
        device=predictor.device,
        precision=predictor.precision,
        batch_tokens=1,
    )
    alone, expected = timed(one_by_one, first_lines)
    changed = sum(batch_answer != answer for batch_answer, answer in zip(answers, expected, strict=False))
    return {
        "precision": precision,
        "beam": size,
        "lines": len(lines),
        "batches": batched,
        "one_by_one": {"lines": len(first_lines), **alone},
        "changed_share": round(changed / max(1, len(first_lines)), 4),
    }


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", help="model folder; default: random weights")
    parser.add_argument("--input", type=Path, help="file with the inputs of the model")
    parser.add_argument("--lines", type=int, default=64, help="number of lines to decode")
    parser.add_argument("--alone", type=int, default=16, help="number of lines to decode one by one, too")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4], help="beam sizes; 1 is greedy search")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "int8"])
    parser.add_argument("--device", default="auto", help="device, as in seqx run")
    parser.add_argument("--batch-tokens", type=int, help="padded tokens of a batch, for every hypothesis")
    parser.add_argument("--out", type=Path, help="file for the JSON record")
    args = parser.parse_args()
    if args.model and not args.input:
        parser.error("set --input; a trained model needs a file with inputs")
    if args.input and not args.input.is_file():
        parser.error(f"argument --input: there is no file {str(args.input)!r}")
    device = device_of(args.device)
    cuda = device.type == "cuda"
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": args.model or "Transformer (base), random weights",
        "results": [],
    }
    for precision in args.precisions:
        for size in args.beams:
            result = measure(args, precision, size)
            record["results"].append(result)
            print(json.dumps(result), flush=True)
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
