"""Batch shapes of an epoch, and the share of tokens that are not padding, for three ways to build batches.

    SEQX_DATA=... python -m benchmarks.batch_shapes [--out FILE]

Lengths are those of 8,000 BPE symbols, learned from the text itself; an update has 25,000 target tokens.

- groups: sentences of similar lengths, as on a CPU (`seqx/data/plan.py`)
- buckets: 16 shapes; the best grid of source and target lengths whose lines divide the tokens equally
- packed: rows that hold several sentences, as on a GPU (`seqx/data/packing.py`)
"""

import argparse
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from benchmarks.paths import output_file, seqx_data
from benchmarks.provenance import provenance
from seqx.data.packing import plan_packed
from seqx.data.plan import Plan, plan
from seqx.data.ragged import Integers

ROOT = Path(__file__).parents[1]
TOKENS, SYMBOLS, SHAPES = 25_000, 8000, 16
PAIRS = {
    "Tatoeba": ("tatoeba_en_de/train.{}.gz",),
    "WMT news": ("wmt_news/en-de/train.{}.gz",),
    "WMT slices": ("wmt_slices_en_de/opennmt10k.tok.{}.gz", "wmt_slices_en_de/stanford10k.tok.{}.gz"),
    "IWSLT": tuple(
        f"iwslt17_en_de/{name}.{{}}.gz" for name in ("dev2010", *(f"tst201{n}" for n in range(5)))
    ),
}
TREES = {"CRAFT trees": "craft_treebank/train.tree.gz"}


def main() -> None:
    """Print the table, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_shapes", description=__doc__)
    parser.add_argument(
        "--out", type=output_file, default=ROOT / "benchmarks" / "results" / "batch_shapes.json"
    )
    out = parser.parse_args().out
    corpora = {name: measured(sides) for name, sides in lengths(seqx_data())}
    for name, about in corpora.items():
        print(name, json.dumps(about))
    record = {"benchmark": "batch_shapes", **provenance(), "tokens": TOKENS, "corpora": corpora}
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record."""
    yield "| corpus | pairs | mean length | groups | 16 buckets | packed rows |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, about in record["corpora"].items():
        cells = [f"{about['pairs']:,}", " / ".join(map(str, about["mean"]))]
        for way in ("groups", "buckets", "packed"):
            shapes = about[way]["shapes"]
            cells.append(f"{about[way]['useful']:.3f} ({shapes} shape{'s' * (shapes > 1)})")
        yield f"| {name} | {' | '.join(cells)} |"


def lengths(data: Path) -> Iterator[tuple[str, Integers]]:
    """Yield the lengths [2, N] of each corpus, EOS included."""
    for name, files in PAIRS.items():
        sides = [
            [line for file in files for line in _lines(data / file.format(side))] for side in ("en", "de")
        ]
        pairs = [pair for pair in zip(*sides, strict=True) if all(text.strip() for text in pair)]
        yield name, np.array([_subwords(side) for side in zip(*pairs, strict=True)]) + 1
    for name, file in TREES.items():
        trees = [tree for tree in _lines(data / file) if tree.strip()]
        words = [re.findall(r"\([^\s()]+ ([^\s()]+)\)", tree) for tree in trees]
        # Top-down: a symbol for each word, and two for each bracket around several words or brackets.
        symbols = [2 * (t.count("(") - 1 - len(w)) + len(w) for t, w in zip(trees, words, strict=True)]
        yield name, np.array([_subwords([" ".join(each) for each in words]), symbols]) + 1


def _lines(file: Path) -> Sequence[str]:
    return gzip.decompress(file.read_bytes()).decode().split("\n")


def _subwords(texts: Sequence[str]) -> list[int]:
    """Return the number of symbols of each text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=SYMBOLS, model_type="bpe",
        input_sentence_size=50_000, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [len(ids) for ids in processor.encode(list(texts))]


def measured(sides: Integers) -> dict[str, Any]:
    """Return the numbers of a corpus."""
    by_column = {"source": sides[0].astype(np.int32), "target": sides[1].astype(np.int32)}
    return {
        "pairs": sides.shape[1],
        "mean": [round(float(mean), 1) for mean in sides.mean(1)],
        "longest": sides.max(1).tolist(),
        "groups": _of_groups(plan(by_column, tokens=TOKENS, groups=1, seed=1, epoch=0)),
        "buckets": {"shapes": SHAPES, "useful": round(_share_in_buckets(sides), 3)},
        "packed": _of_packed(plan_packed(by_column, tokens=TOKENS, seed=1, epoch=0)),
    }


def _of_groups(made: Plan) -> dict[str, Any]:
    sizes = np.diff(made.groups)
    longest = [np.maximum.reduceat(column[made.order], made.groups[:-1]) for column in made.lengths.values()]
    shapes = {*zip(sizes.tolist(), *(column.tolist() for column in longest), strict=True)}
    return {"shapes": len(shapes), "useful": _share(made, sum(longest) * sizes)}


def _of_packed(made: Plan) -> dict[str, Any]:
    assert made.row_lengths is not None
    rows, row_lengths = np.diff(made.updates), [*made.row_lengths.values()]
    shapes = {*zip(rows.tolist(), *(column.tolist() for column in row_lengths), strict=True)}
    return {
        "shapes": len(shapes),
        "useful": _share(made, sum(row_lengths) * rows),
        "rows": [[int(n) for n in shape] for shape in sorted(shapes, reverse=True)],
    }


def _share(made: Plan, padded: Any) -> float:
    return round(float(sum(column.sum() for column in made.lengths.values()) / padded.sum()), 3)


def _share_in_buckets(sides: Integers) -> float:
    """Return the share of tokens that are not padding in the best grid of SHAPES buckets."""
    shares = []
    for columns in (1, 2, 4, 8, 16):
        padded = sum(
            _upper_lines(side, count)[np.searchsorted(_upper_lines(side, count), side)].sum()
            for side, count in zip(sides, (columns, SHAPES // columns), strict=True)
        )
        shares.append(float(sides.sum() / padded))
    return max(shares)


def _upper_lines(side: Integers, count: int) -> Integers:
    """Return the lengths that divide the tokens of one side into equal parts."""
    ordered = np.sort(side)
    ends = np.searchsorted(np.cumsum(ordered), ordered.sum() * np.arange(1, count + 1) / count - 1e-9)
    return ordered[ends.clip(max=len(ordered) - 1)]


if __name__ == "__main__":
    main()
