"""The grammar's share of the time of a decoding step of a parser.

    python -m benchmarks.grammar_share --out grammar_share.json
    python -m benchmarks.grammar_share --model FOLDER --out grammar_share.json     # also a trained parser

By default the models are those of recipes/wsj_parsing.yaml (top-down) and wsj_parsing_inorder.yaml with
random weights. They parse sentences of the Penn Treebank below SEQX_DATA, with the recipe's beam and with
greedy search, one sentence and 64 sentences at once. A step lasts from one call of the model to the next one.
Two searches take turns:

- with the grammar, whose calls are timed;
- without a grammar. The model is computed as before, but returns the logits of the first search, in which
  forbidden symbols have probability 0. So both searches write the same symbols, apart from ties; the record
  has the share of equal symbols.

The share is measured twice: as the time of the grammar's calls (allowed, advance, and the selection of rows
of its state), and as the time that the second search saves, which includes what the search does with masks.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor

import seqx
from benchmarks.gpu.recipes import experiment
from benchmarks.paths import output_file, seqx_data
from benchmarks.provenance import provenance, write_record
from seqx.data.prepare import no_progress
from seqx.inference import Predictor, load
from seqx.inference.decoding import Piece, output_limits, source_batch
from seqx.inference.packing import pack
from seqx.inference.predictor import inference_mode
from seqx.runtime.precision import InferencePrecision, compute_precision
from seqx_parsing import Parsing
from seqx_search import Beam, Greedy

T = TypeVar("T")

CPU = torch.device("cpu")
RECIPES = ("wsj_parsing", "wsj_parsing_inorder")
BATCHES = (1, 64)


class EndOfMeasurementError(Exception):
    """The last measured step has begun."""


@dataclass
class Steps:
    """The steps of one search."""

    starts: list[float] = field(default_factory=list)
    grammar: list[float] = field(default_factory=lambda: [0.0])  # seconds in the grammar before each step
    ids: list[Tensor] = field(default_factory=list)  # that each step read
    logits: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)

    def time(self, call: Callable[[], T]) -> T:
        """Add the time of a call of the grammar."""
        start = time.perf_counter()
        result = call()
        self.grammar[-1] += time.perf_counter() - start
        return result

    @property
    def seconds(self) -> list[float]:
        """The time of each step except the last one, whose end is not known."""
        return [end - start for start, end in pairwise(self.starts)]

    @property
    def grammar_seconds(self) -> list[float]:
        """The time of the grammar in these steps."""
        return self.grammar[1 : len(self.starts)]


class TimedState:
    """A state of a grammar, whose rows are selected by timed calls."""

    def __init__(self, steps: Steps, state: seqx.State) -> None:
        self.steps, self.state = steps, state

    def select(self, index: Tensor) -> "TimedState":
        """Select rows."""
        return TimedState(self.steps, self.steps.time(lambda: seqx.rows(self.state, index)))

    def fork(self, n: int) -> "TimedState":
        """Repeat each row."""
        return TimedState(self.steps, seqx.fork(self.state, n))


class TimedGrammar(seqx.Grammar):
    """A grammar whose calls are timed. If `records`, its masks are kept."""

    def __init__(self, grammar: seqx.Grammar, steps: Steps, *, records: bool) -> None:
        self.grammar, self.steps, self.records = grammar, steps, records

    def start(self, rows: int, max_lengths: Tensor) -> TimedState:
        """Return the first state."""
        return TimedState(self.steps, self.grammar.start(rows, max_lengths))

    def allowed(self, state: TimedState) -> Tensor:
        """Return the mask of the next symbols."""
        mask = self.steps.time(lambda: self.grammar.allowed(state.state))
        if self.records:
            self.steps.masks.append(mask)
        return mask

    def advance(self, state: TimedState, tokens: Tensor) -> TimedState:
        """Return the next state."""
        return TimedState(self.steps, self.steps.time(lambda: self.grammar.advance(state.state, tokens)))


class TimedSlots(seqx.Slots):
    """Slots whose steps are timed. If `returned` is not None, `step` returns these logits.

    Raises `EndOfMeasurementError` at step number `last`.
    """

    def __init__(
        self, slots: seqx.Slots, steps: Steps, last: int, returned: Sequence[Tensor] | None, *, records: bool
    ) -> None:
        self.slots, self.steps, self.last, self.returned = slots, steps, last, returned
        self.records = records
        self.hypotheses = slots.hypotheses

    @property
    def occupied(self) -> list[int]:  # type: ignore[override]
        """The occupied slots."""
        return self.slots.occupied

    def step(self, ids: Tensor) -> Tensor:
        """Record the time, and return the logits of the next symbols."""
        number = len(self.steps.starts)
        self.steps.starts.append(time.perf_counter())
        if number == self.last:
            raise EndOfMeasurementError
        self.steps.grammar.append(0.0)
        self.steps.ids.append(ids)
        logits = self.slots.step(ids)
        if self.returned is not None:
            return self.returned[number]
        if self.records:
            self.steps.logits.append(logits.float())
        return logits

    def reorder(self, parents: Tensor) -> None:
        """Reorder hypotheses."""
        self.slots.reorder(parents)

    def release(self, slots: Any) -> None:
        """Release slots."""
        self.slots.release(slots)

    def fill(self, slots: Sequence[int], memory: seqx.State) -> None:
        """Fill slots."""
        self.slots.fill(slots, memory)


class Case:
    """Sentences that a search decodes with a model.

    Args:
        predictor: task, model and search
        sentences: the sentences
        last: the maximum number of steps
    """

    def __init__(self, predictor: Predictor, sentences: Sequence[str], last: int) -> None:
        assert isinstance(predictor.task, Parsing)
        assert isinstance(predictor.model, seqx.Generator)
        assert predictor.search is not None
        self.task, self.model, self.search = predictor.task, predictor.model, predictor.search
        self.last = last
        self.columns = [self.task.read(sentence) for sentence in sentences]
        pieces = [Piece(0, seqx.Request(input=""), columns) for columns in self.columns]
        self.limits = torch.tensor(output_limits(pieces, self.model, self.search))
        self.source = source_batch(pieces).columns["source"]
        self.memory = self.model.encode(self.source)
        recorded = self.run(records=True)
        pairs = zip(recorded.logits, recorded.masks, strict=False)
        self.returned = [without_forbidden(logits, mask) for logits, mask in pairs]

    def run(self, *, grammar: bool = True, records: bool = False) -> Steps:
        """Decode the sentences."""
        steps = Steps()
        returned = None if grammar else self.returned
        slots = self.model.slots

        def timed_slots(*args: Any) -> TimedSlots:
            return TimedSlots(slots(*args), steps, self.last, returned, records=records)

        timed: seqx.Grammar | None = None
        if grammar and (found := self.task.grammar(self.columns)) is not None:
            timed = TimedGrammar(found, steps, records=records)
        with mock.patch.object(self.model, "slots", timed_slots), suppress(EndOfMeasurementError):
            self.search(self.model, self.source, self.limits, timed, self.memory)
        return steps

    def compare(self, rounds: int) -> dict[str, Any]:
        """Decode with and without the grammar in turn; return times and shares.

        The value of a round is the median of its steps, because other processes delay some of them.
        """
        found: dict[str, list[float]] = {"step_us": [], "grammar_us": [], "calls": [], "saved": []}
        for _ in range(rounds):
            used, unused = self.run(), self.run(grammar=False)
            steps = list(zip(used.seconds, used.grammar_seconds, unused.seconds, strict=False))
            pairs = zip(used.ids, unused.ids, strict=False)
            same = statistics.mean(float((a == b).float().mean()) for a, b in pairs if a.shape == b.shape)
            found["step_us"].append(statistics.median(1e6 * step for step, _, _ in steps))
            found["grammar_us"].append(statistics.median(1e6 * grammar for _, grammar, _ in steps))
            found["calls"].append(statistics.median(grammar / step for step, grammar, _ in steps))
            found["saved"].append(1 - statistics.median(other / step for step, _, other in steps))
        quartiles = {
            name: [round(q, 4) for q in statistics.quantiles(values, n=4)] for name, values in found.items()
        }
        return {"steps": len(steps), "same_symbols": round(same, 4), **quartiles}


def without_forbidden(logits: Tensor, allowed: Tensor) -> Tensor:
    """Return logits in which PAD, which is never written, has the probability of all forbidden symbols."""
    forbidden = logits.masked_fill(allowed, -torch.inf).logsumexp(1)
    result = logits.masked_fill(~allowed, -torch.inf)
    result[:, seqx.PAD] = forbidden
    return result


def random_parser(recipe: str, folder: Path, precision: InferencePrecision, settings: list[str]) -> Predictor:
    """Return a predictor with the model of a recipe, random weights and the vocabulary of NLTK's treebank."""
    files = {split: [f"${{SEQX_DATA}}/ptb_nltk_sample/{split}.mrg.gz"] for split in seqx.SPLITS}
    corpus = json.dumps({"type": "treebank", **files})
    overrides = [f"task.corpus={corpus}", "task.tokenizer.size=4000", *settings]
    setup = experiment(recipe, overrides)
    folder.mkdir()
    setup.task.learn(folder, no_progress)
    torch.manual_seed(1)
    model = setup.model(setup.task.vocab_sizes).eval()
    computed = compute_precision(precision, CPU)
    pack(model, computed)
    return Predictor(setup.task, model, setup.search, device=CPU, precision=computed)


def sentences(count: int) -> list[str]:
    """Return the first `count` test sentences of NLTK's treebank."""
    path = seqx_data() / "ptb_nltk_sample" / "test.mrg.gz"
    corpus = {"type": "treebank", "test": [str(path)]}
    task = experiment("wsj_parsing", [f"task.corpus={json.dumps(corpus)}"]).task
    return task.inputs(seqx.Split("test", list(task.rows("test"))))[:count]


def measure(name: str, predictor: Predictor, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the measurements of one model."""
    beam = predictor.search
    assert isinstance(beam, Beam)
    lines = sentences(max(args.batches))
    for search in (beam, Greedy(ratio=beam.ratio, extra=beam.extra)):
        predictor.search = search
        for batch in args.batches:
            case = Case(predictor, lines[:batch], args.steps)
            yield {
                "model": name,
                "search": f"beam {beam.size}" if search is beam else "greedy",
                "sentences": batch,
                **case.compare(args.rounds),
            }
    predictor.search = beam


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record: medians, and quartiles in brackets."""
    yield "| model | search, sentences | step, ms | grammar, ms | share of its calls | saved without it |"
    yield "|---|---|---|---|---|---|"
    for case in record["results"]:
        step, grammar = (case[name][1] / 1000 for name in ("step_us", "grammar_us"))
        calls, saved = (
            f"{100 * middle:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            for low, middle, high in (case["calls"], case["saved"])
        )
        search = f"{case['search']}, {case['sentences']}"
        yield f"| {case['model']} | {search} | {step:.2f} | {grammar:.2f} | {calls} | {saved} |"


def main() -> None:
    """Measure, print the results and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=RECIPES, help="recipes of models with random weights")
    parser.add_argument("--model", action="append", default=[], help="folder of a trained parser; repeatable")
    parser.add_argument("--set", action="append", default=[], help="override of the recipes; repeatable")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="numbers of sentences")
    parser.add_argument("--steps", type=int, default=30, help="maximum number of steps")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--precision", default="auto", help="precision, as in seqx parse")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        names = [*args.recipes, *args.model]
        for name in names:
            if name in args.recipes:
                predictor = random_parser(name, Path(folder, name), args.precision, args.set)
            else:
                predictor = load(name, device="cpu", precision=args.precision)
            with inference_mode(predictor.model, CPU, predictor.precision):
                for result in measure(Path(name).name, predictor, args):
                    results.append(result | {"precision": predictor.precision})
                    print(json.dumps(results[-1]), flush=True)
    record = {**provenance(), "threads": torch.get_num_threads(), "results": results}
    print(*table(record), sep="\n")
    write_record(record, args.out)


if __name__ == "__main__":
    main()
