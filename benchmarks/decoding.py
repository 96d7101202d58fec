"""How fast a search decodes, and how many lines change with what else is in their batch.

    python benchmarks/decoding.py --out decoding.json                 # Transformer (base), random weights
    python benchmarks/decoding.py MODEL --input test.en --out d.json   # a trained model, real lines

Without a model, sources have lengths like WMT's and every output is as long as its source (random weights all
but never end a sentence): speed means something, the share of changed lines does not. With a model both do.

A line has changed when its best answer in a full batch is not the one it gets alone. Times are those of the
second of two passes, over the same lines.
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from seqx.inference import Predictor, load
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import Evaluation
from seqx.interfaces.task import Example, Rejected, Split, Task, TextModel
from seqx.interfaces.tensors import EOS, UNK
from seqx.interfaces.text import SPLITS, ProgressReporter
from seqx.runtime.devices import device_of
from seqx_models import EncoderDecoder
from seqx_search import Beam, Greedy
from seqx_transformer import MultiHeadAttention, ReLU, TransformerDecoder, TransformerEncoder

VOCABULARY = 37_000


class Numbers(Task):
    """Texts are ids, written out."""

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        """One vocabulary for both sides."""
        return {"source": VOCABULARY, "target": VOCABULARY}

    def read(self, text: str) -> Mapping[str, list[int]]:
        """The ids that the text lists."""
        return {"source": [*map(int, text.split()), EOS]}

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """The ids as a list."""
        return " ".join(map(str, ids))

    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Nothing to do."""

    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Nothing to learn."""

    def load(self, folder: Path) -> None:
        """Nothing was learnt."""

    def identity(self) -> Mapping[str, object]:
        """Nothing to tell apart."""
        return {}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """No rows."""
        return iter(())

    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """No examples."""
        return Rejected("all")

    def inputs(self, split: Split) -> list[str]:
        """Lengths like those of WMT in subwords: 27 on average, up to 100."""
        rng = random.Random(1)  # noqa: S311  # no secret
        lengths = (min(100, max(1, round(rng.lognormvariate(3.15, 0.55)))) for _ in iter(int, 1))
        return [
            " ".join(str(rng.randrange(UNK + 1, VOCABULARY)) for _ in range(length))
            for length in islice(lengths, int(split.name))
        ]

    def references(self, split: Split) -> list[str]:
        """None."""
        return []

    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Not judged."""
        return Evaluation(scores={})


def base() -> Model:
    """The Transformer (base) of Vaswani et al. 2017, with random weights."""
    torch.manual_seed(0)
    attention = lambda d: MultiHeadAttention(d, heads=8)  # noqa: E731
    feedforward = lambda d: ReLU(d, width=2048)  # noqa: E731
    return EncoderDecoder(
        Numbers().vocab_sizes,
        d_model=512,
        tie_embeddings="all",
        encoder=lambda d: TransformerEncoder(d, layers=6, attention=attention, feedforward=feedforward),
        decoder=lambda d: TransformerDecoder(d, layers=6, attention=attention, feedforward=feedforward),
    ).eval()


def timed(predictor: Predictor, lines: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Speed of the second pass, and its answers."""
    list(predictor.hypotheses(lines))
    began = time.perf_counter()
    answers = list(predictor.hypotheses(lines, len(lines)))
    seconds = time.perf_counter() - began
    tokens = sum(len(found[0][1].ids) + 1 for found in answers if found)
    speed = {
        "seconds": round(seconds, 3),
        "lines_per_second": round(len(lines) / seconds, 2),
        "output_tokens_per_second": round(tokens / seconds, 1),
        "output_tokens": tokens,
    }
    return speed, [found[0][0] if found else "" for found in answers]


def measure(args: argparse.Namespace, precision: Literal["fp32", "bf16"], size: int) -> dict[str, Any]:
    """One precision and one beam: all lines at once, and some one by one."""
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
        predictor = Predictor(
            Numbers(),
            base().to(device),
            search,
            device=device,
            precision=precision,
            batch_tokens=args.batch_tokens,
        )
        lines = predictor.task.inputs(Split(str(args.lines), ()))
    together, answers = timed(predictor, lines)
    some = lines[: args.alone]
    one_by_one = Predictor(
        predictor.task,
        predictor.model,
        predictor.search,
        device=predictor.device,
        precision=predictor.precision,
        batch_tokens=1,
    )
    alone, expected = timed(one_by_one, some)
    changed = sum(one != other for one, other in zip(answers, expected, strict=False))
    return {
        "precision": precision,
        "beam": size,
        "lines": len(lines),
        "batches": together,
        "one_by_one": {"lines": len(some), **alone},
        "changed_share": round(changed / max(1, len(some)), 4),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model's folder; random weights when left out")
    parser.add_argument("--input", type=Path, help="lines for the model to answer")
    parser.add_argument("--lines", type=int, default=64)
    parser.add_argument("--alone", type=int, default=16, help="lines that are also decoded one by one")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.model and not args.input:
        parser.error("a model needs --input")
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
