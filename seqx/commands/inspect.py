"""The command `seqx inspect`."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from seqx.commands.arguments import trust_option
from seqx.inference.loading import load, model_folder
from seqx.recipe import read_plain
from seqx.recipe.yaml_writer import dump
from seqx.storage.json_format import json_text, read_json
from seqx.storage.metrics_file import MetricsFile
from seqx.storage.model_folder import read_scores
from seqx.storage.safetensors_header import read_header
from seqx.storage.weights import WEIGHTS

_SPECIAL = 4  # PAD, BOS, EOS and UNK
_EXAMPLES = 12  # symbols of a vocabulary that are shown


@click.command(name="inspect", epilog="Example: seqx inspect runs/wmt_en_de-sample --depth 2")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--depth",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Levels of names by which parameters are grouped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@trust_option
def inspect_model(model: Path, *, depth: int, as_json: bool, trust_local_plugins: bool) -> None:
    """Show what a MODEL consists of: parts, parameters, vocabulary, training data and scores.

    MODEL is a model folder, or the folder of a finished run. The training data is the corpus that the recipe
    names. The number of training examples is printed only if the model folder is still in its run folder.
    """
    folder = model_folder(model)
    parts = _parts(folder, depth)
    facts = {
        "model": str(folder),
        **_description(folder),
        "parameters": sum(parts.values()),
        "parts": parts,
        "vocabulary": _vocabulary(folder, trust=trust_local_plugins),
        "data": _data(folder),
        "scores": {
            split: {name: score.to_json() for name, score in named.items()}
            for split, named in read_scores(folder).items()
        },
    }
    click.echo(json_text(facts, ensure_ascii=False) if as_json else "\n".join(_lines(facts)))


def _description(folder: Path) -> dict[str, Any]:
    info = read_json(folder / "model.json")
    return {name: info[name] for name in ("run", "steps", "seqx") if name in info}


def _parts(folder: Path, depth: int) -> dict[str, int]:
    """Return the number of stored parameters of each part; a matrix with several names is stored once."""
    sizes = Counter[str]()
    for name, tensor in read_header(folder / WEIGHTS).items():
        sizes[".".join(name.split(".")[:depth])] += math.prod(tensor.shape)
    return dict(sizes.most_common())


def _vocabulary(folder: Path, *, trust: bool) -> dict[str, Any]:
    """Return the size of each vocabulary, and some of its symbols, at equal distances."""
    task = load(folder, device="cpu", precision="fp32", trust_local_plugins=trust).task
    result = {}
    for column, size in task.vocab_sizes.items():
        step = max(1, (size - _SPECIAL) // _EXAMPLES)
        result[column] = {
            "size": size,
            "symbols": task.symbols(column, [*range(_SPECIAL, size, step)][:_EXAMPLES]),
        }
    return result


def _data(folder: Path) -> dict[str, Any]:
    """Return the corpus of the recipe, and the counts that the run recorded beside the model."""
    data: dict[str, Any] = {"corpus": read_plain(folder / "recipe.yaml").get("task", {}).get("corpus")}
    start = MetricsFile(folder.parent).read().start if (folder.parent / "metrics.jsonl").is_file() else {}
    return data | {name: start[name] for name in ("examples", "dropped", "leaks") if name in start}


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the facts as text."""
    total = facts["parameters"]
    yield f"{facts['model']}: {total:,} parameters"
    if "run" in facts:  # an imported model has none
        steps = ", ".join(map(str, facts["steps"]))
        weights = f"the mean of steps {steps}" if ", " in steps else f"step {steps}"
        yield f"run {facts['run']}, {weights}, written by seqx {facts.get('seqx')}"
    width = max(map(len, facts["parts"]))
    yield from (
        f"  {name:<{width}}  {size:>13,}  {size / total:6.1%}" for name, size in facts["parts"].items()
    )
    for column, vocabulary in facts["vocabulary"].items():
        symbols = " ".join(vocabulary["symbols"])
        yield f"vocabulary {column}: {vocabulary['size']:,} symbols, such as {symbols}"
    data = facts["data"]
    counts = f", {data['examples']:,} training examples" if "examples" in data else ""
    yield f"data: {dump(data['corpus'], flow=True)}{counts}"
    for split, scores in facts["scores"].items():
        for name, score in scores.items():
            yield f"{split} {name} {score['value']:.2f}  {score['signature']}"
