"""Growth of time and memory of a layer with the sequence length, compared with Vaswani et al. 2017, Table 1.

    python -m benchmarks.complexity --out complexity.json --draw complexity.svg

The layers are each registered attention and encoder, and multi-head attention with each positional encoding
that acts in attention. Each computes a forward and a backward pass over one sequence of width `--width`;
lengths double. The exponents of growth are fitted over the longest lengths, where the operations that the
table counts dominate. Memory is the size of the tensors that the forward pass keeps for the backward pass.
A layer is not measured at a length for which it would take too much time or memory.

The command takes some minutes on one thread; times are processor time. Drawing needs the extra `draw`
(matplotlib).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import seqx
from benchmarks.paths import output_file
from benchmarks.provenance import provenance, write_record
from seqx import markdown_table
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component, Registry
from seqx.recipe import check
from seqx.recipe.yaml_tree import parse

Layer = Callable[[Tensor], Tensor]
SMALL: Mapping[str, Any] = {
    "layers": 1,
    "heads": 1,
    "dropout": 0.0,
    "attention": {"type": "multihead", "heads": 1, "kernel": "eager"},
}
"""Settings, if a component has them, for a single layer without dropout."""

SMALL_ATTENTION = {**SMALL, "kernel": "eager"}
"""The same for attention, with one kernel for all lengths."""


@dataclass(frozen=True)
class Claim:
    """A line of Table 1, for a sequence of n tokens and a width of d; `exponent` is that of n."""

    layer: str
    operations: str
    exponent: int


SELF_ATTENTION = Claim("self-attention", "n² d", 2)
RECURRENT = Claim("recurrent", "n d²", 1)
CONVOLUTIONAL = Claim("convolutional", "k n d²", 1)
RESTRICTED = Claim("self-attention (restricted)", "r n d", 1)
CLAIMS: Mapping[str, Claim] = {
    **dict.fromkeys(
        ("multihead", "additive", "multiplicative", "grouped_query", "transformer"), SELF_ATTENTION
    ),
    **dict.fromkeys(("lstm", "gru"), RECURRENT),
    "convolution": CONVOLUTIONAL,
    "restricted": RESTRICTED,
}
"""The line of Table 1 for each component that it covers."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The measurements for one sequence length."""

    length: int
    seconds: float  # processor time of forward and backward pass, minimum of several
    kept: int  # bytes that the forward pass keeps for the backward pass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits for the next length of a layer."""

    seconds: float = 4.0  # estimated for the next length
    kept: float = 1.5e9  # bytes, estimated for the next length


def layers(width: int) -> Iterator[tuple[str, Component, Layer]]:
    """Yield the name (`INTERFACE-NAME`), the component and the function of each layer."""
    registry = load_plugins().registry
    attentions = registry.components(seqx.Attention)
    for name, component in attentions.items():
        yield (
            f"Attention-{name}",
            component,
            _self_attention_layer(_maker(seqx.Attention, component, registry)(width)),
        )
    for name, component in registry.components(seqx.PositionalEncoding).items():
        if any(setting.required for setting in component.settings.values()):
            continue
        encoding = _maker(seqx.PositionalEncoding, component, registry)(width, 1)
        if encoding.acts_in_attention:
            multihead = _maker(seqx.Attention, attentions["multihead"], registry)(width)
            yield f"PositionalEncoding-{name}", component, _self_attention_layer(multihead, encoding)
    for name, component in registry.components(seqx.Encoder).items():
        yield (
            f"Encoder-{name}",
            component,
            _encoder_layer(_maker(seqx.Encoder, component, registry, width)(width)),
        )


def _maker(interface: type, component: Component, registry: Registry, width: int | None = None) -> Any:
    """Return the configured constructor of a component, with a single layer and no dropout."""
    torch.manual_seed(1)
    small = SMALL_ATTENTION if interface is seqx.Attention else SMALL
    settings = {name: value for name, value in small.items() if name in component.settings}
    if width is not None and "width" in component.settings:
        settings["width"] = width
    tree = {"type": component.name, **settings}
    make: Any = seqx.Make
    section: Any = make_dataclass("Section", [("layer", make[interface])], kw_only=True)
    node = parse(json.dumps({"layer": tree}), component.name)
    return check(node, registry, section)().layer


def _layout(x: Tensor) -> seqx.Layout:
    """Return the layout of a batch [B, T, D] without padding."""
    return seqx.Layout.of(torch.ones(x.shape[:2], dtype=torch.bool), torch.zeros(len(x), dtype=torch.int64))


def _self_attention_layer(
    attention: seqx.Attention, encoding: seqx.PositionalEncoding | None = None
) -> Layer:
    """Return a function that computes self-attention."""
    attention.train()

    def layer(x: Tensor) -> Tensor:
        layout = _layout(x)
        positioned = (
            seqx.Positioned.unordered(layout) if encoding is None else seqx.Positioned(encoding, layout)
        )
        return attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())

    return layer


def _encoder_layer(encoder: seqx.Encoder) -> Layer:
    """Return a function that runs an encoder on a batch without padding."""
    encoder.train()
    return lambda x: encoder(x, _layout(x))


def measure(layer: Layer, lengths: Sequence[int], width: int, limits: Limits, repeats: int) -> list[Point]:
    """Measure a layer at each length, up to the limits."""
    points: list[Point] = []
    for length in lengths:
        if len(points) > 1:
            seconds, kept = (_extrapolate([getattr(p, key) for p in points]) for key in ("seconds", "kept"))
            if seconds > limits.seconds or kept > limits.kept:
                break
        x = torch.randn(1, length, width, requires_grad=True)
        kept = _kept_bytes(layer, x)
        times = []
        for _ in range(repeats):
            start_time = time.process_time()
            torch.autograd.backward(layer(x).sum())
            times.append(time.process_time() - start_time)
        points.append(Point(length=length, seconds=min(times), kept=kept))
    return points


def _extrapolate(values: Sequence[float]) -> float:
    """Estimate the value at twice the length from the last growth, which is taken to be at most quadratic."""
    return values[-1] * min(max(values[-1] / values[-2], 1), 4)


def _kept_bytes(layer: Layer, x: Tensor) -> int:
    """Return the bytes of the tensors, except parameters, that a forward pass keeps for the backward pass.

    A first pass is not measured, because libraries allocate memory in it.
    """
    torch.autograd.backward(layer(x).sum())
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = layer(x)
    total = sum(storages.values())
    torch.autograd.backward(out.sum())
    return total


def exponent(lengths: Sequence[int], values: Sequence[float], last: int = 3) -> float | None:
    """Fit the exponent of growth to the `last` longest lengths; None if there are fewer."""
    if len(lengths) < last:
        return None
    return float(np.polyfit(np.log(lengths[-last:]), np.log(values[-last:]), 1)[0])


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each layer: growth in Table 1 and measured, and the longest sequence."""
    rows = []
    for name, result in record["layers"].items():
        claim, longest = result["claim"], result["points"][-1]
        rows.append(
            [
                name,
                f"{claim['operations']} ({claim['layer']})" if claim else "-",
                f"n^{claim['exponent']}" if claim else "-",
                *(_power(result["growth"][key]) for key in ("seconds", "kept")),
                f"{longest['length']:,}",
                f"{1000 * longest['seconds']:,.1f} ms",
                f"{longest['kept'] / 2**20:,.1f} MiB",
            ]
        )
    header = [
        "layer",
        "Table 1",
        "growth in Table 1",
        "time",
        "memory",
        "longest n",
        "its time",
        "its memory",
    ]
    yield from markdown_table(header, rows)


def _power(value: float | None) -> str:
    return "-" if value is None else f"n^{value:.2f}"


def draw(record: Mapping[str, Any], file: Path) -> None:
    """Draw time and memory against the length, on logarithmic scales."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  optional dependency
    except ModuleNotFoundError:
        raise seqx.UserError("--draw needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, key, unit in zip(figure.subplots(1, 2), ("seconds", "kept"), ("s", "MiB"), strict=True):
        for name, result in record["layers"].items():
            scale = 1 if key == "seconds" else 2**-20
            xs = [point["length"] for point in result["points"]]
            axes.plot(xs, [point[key] * scale for point in result["points"]], marker=".", label=name)
        axes.set(xlabel="length n", ylabel=unit, title={"seconds": "time", "kept": "memory"}[key])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.grid(visible=True, alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper")
    figure.suptitle(f"One layer, forward and backward, d = {record['width']}")
    figure.savefig(file)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive; use 1 or more")
    return number


def main() -> int:
    """Measure, print the table, and write the record and the drawing if options ask for them."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--width", type=_positive, default=64, help="width d of the layers")
    parser.add_argument("--shortest", type=_positive, default=64, help="shortest length")
    parser.add_argument("--longest", type=int, default=8192, help="largest length")
    parser.add_argument("--repeats", type=_positive, default=5, help="repetitions of each measurement")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    parser.add_argument("--draw", type=output_file, help="file for the drawing: .svg, .png or .pdf")
    arguments = parser.parse_args()
    if arguments.longest < arguments.shortest:
        parser.error(f"--longest {arguments.longest} is less than --shortest {arguments.shortest}")
    lengths = [arguments.shortest]
    while lengths[-1] * 2 <= arguments.longest:
        lengths.append(lengths[-1] * 2)
    torch.set_num_threads(1)  # processor time of several threads would include their waiting
    results = {}
    for name, component, layer in layers(arguments.width):
        points = measure(layer, lengths, arguments.width, Limits(), arguments.repeats)
        claim = CLAIMS.get(component.name)
        measured = [point.length for point in points]
        results[name] = {
            "claim": asdict(claim) if claim else None,
            "growth": {
                key: exponent(measured, [getattr(point, key) for point in points])
                for key in ("seconds", "kept")
            },
            "points": [asdict(point) for point in points],
        }
        print(f"{name}: measured up to length {measured[-1]}", file=sys.stderr)
    record = {**provenance(), "width": arguments.width, "layers": results}
    print("\n".join(table(record)))
    write_record(record, arguments.out)
    if arguments.draw:
        draw(record, arguments.draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
