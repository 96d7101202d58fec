"""Table 1 of Vaswani et al. 2017, measured: how time and memory of one layer grow with a sequence's length.

    python -m benchmarks.complexity --out complexity.json --draw complexity.svg

One layer of each registered attention and encoder reads one sequence of width `--width` and computes
gradients, and so does multi-head attention with each of the positions that it hears of; lengths double. The
exponents of growth are fitted over the longest lengths, where what the table counts outweighs the rest, and
stand beside those that the table claims. Memory is that of the tensors which the forward pass keeps for the
backward pass. A kind whose next length would take too long or too much memory stops there.

It takes some minutes on one thread, whose time on the processor is what counts. Drawing needs the extra
`draw` (matplotlib).
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
from benchmarks.provenance import provenance
from seqx.plugin.loading import load_plugins
from seqx.plugin.registry import Component, Registry
from seqx.recipe import check
from seqx.recipe.yaml_tree import parse
from seqx_watch.table import markdown

Layer = Callable[[Tensor], Tensor]
SMALL: Mapping[str, Any] = {
    "layers": 1,
    "heads": 1,
    "dropout": 0.0,
    "attention": {"type": "multihead", "heads": 1},
}
"""What makes of each kind one layer, without what differs between kinds for other reasons."""


@dataclass(frozen=True)
class Claim:
    """A line of Table 1, for a sequence of n and a width of d; the exponent is that of n."""

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
"""Which line of Table 1 speaks of a component; of the others it says nothing."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one sequence of a length took."""

    length: int
    seconds: float  # of the processor, forward and backward; the least of several
    kept: int  # bytes, for the backward pass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a kind goes no further."""

    seconds: float = 4.0  # that the next length may take
    kept: float = 1.5e9  # bytes that it may keep


def layers(width: int) -> Iterator[tuple[str, Component, Layer]]:
    """One layer of each registered attention and encoder, and of positions in attention, by `KIND-NAME`."""
    registry = load_plugins().registry
    attentions = registry.components(seqx.Attention)
    for name, component in attentions.items():
        yield f"Attention-{name}", component, _attending(_built(seqx.Attention, component, registry)(width))
    for name, component in registry.components(seqx.PositionalEncoding).items():
        if any(setting.required for setting in component.settings.values()):
            continue
        encoding = _built(seqx.PositionalEncoding, component, registry)(width, 1)
        if encoding.acts_in_attention:
            multihead = _built(seqx.Attention, attentions["multihead"], registry)(width)
            yield f"PositionalEncoding-{name}", component, _attending(multihead, encoding)
    for name, component in registry.components(seqx.Encoder).items():
        yield f"Encoder-{name}", component, _encoding(_built(seqx.Encoder, component, registry, width)(width))


def _built(kind: type, component: Component, registry: Registry, width: int | None = None) -> Any:
    torch.manual_seed(1)
    settings = {name: value for name, value in SMALL.items() if name in component.settings}
    if width is not None and "width" in component.settings:
        settings["width"] = width
    said = {"type": component.name, **settings}
    make: Any = seqx.Make
    section: Any = make_dataclass("Section", [("layer", make[kind])], kw_only=True)
    node = parse(json.dumps({"layer": said}), component.name)
    return check(node, registry, section)().layer


def _layout(x: Tensor) -> seqx.Layout:
    return seqx.Layout.of(torch.ones(x.shape[:2], dtype=torch.bool), torch.zeros(len(x), dtype=torch.int64))


def _attending(attention: seqx.Attention, encoding: seqx.PositionalEncoding | None = None) -> Layer:
    """Self-attention."""
    attention.train()

    def layer(x: Tensor) -> Tensor:
        layout = _layout(x)
        positioned = (
            seqx.Positioned.unordered(layout) if encoding is None else seqx.Positioned(encoding, layout)
        )
        return attention(x, positioned, attention.project(x, x, positioned), seqx.Mask())

    return layer


def _encoding(encoder: seqx.Encoder) -> Layer:
    encoder.train()
    return lambda x: encoder(x, _layout(x))


def measure(layer: Layer, lengths: Sequence[int], width: int, limits: Limits, repeats: int) -> list[Point]:
    """A point for each length, as far as the limits allow."""
    points: list[Point] = []
    for length in lengths:
        if len(points) > 1:
            slower, larger = (_next([getattr(p, what) for p in points]) for what in ("seconds", "kept"))
            if slower > limits.seconds or larger > limits.kept:
                break
        x = torch.randn(1, length, width, requires_grad=True)
        kept = _kept(layer, x)
        times = []
        for _ in range(repeats):
            began = time.process_time()
            torch.autograd.backward(layer(x).sum())
            times.append(time.process_time() - began)
        points.append(Point(length=length, seconds=min(times), kept=kept))
    return points


def _next(values: Sequence[float]) -> float:
    """What twice the length will take, if it grows as it did last; more than with n² is a disturbance."""
    return values[-1] * min(max(values[-1] / values[-2], 1), 4)


def _kept(layer: Layer, x: Tensor) -> int:
    """Bytes of the tensors that the forward pass keeps for the backward pass, parameters aside.

    Measured after the first pass, in which libraries prepare themselves.
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
    """The slope of the logarithms over the longest lengths; None: too few."""
    if len(lengths) < last:
        return None
    return float(np.polyfit(np.log(lengths[-last:]), np.log(values[-last:]), 1)[0])


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """A line for each layer: claimed and measured growth, and what the longest sequence took."""
    rows = []
    for name, found in record["layers"].items():
        claim, longest = found["claim"], found["points"][-1]
        rows.append(
            [
                name,
                f"{claim['operations']} ({claim['layer']})" if claim else "-",
                f"n^{claim['exponent']}" if claim else "-",
                *(_power(found["growth"][what]) for what in ("seconds", "kept")),
                f"{longest['length']:,}",
                f"{1000 * longest['seconds']:,.1f} ms",
                f"{longest['kept'] / 2**20:,.1f} MiB",
            ]
        )
    header = ["layer", "Table 1", "growth claimed", "time", "memory", "longest n", "took", "kept"]
    yield from markdown(header, rows)


def _power(value: float | None) -> str:
    return "-" if value is None else f"n^{value:.2f}"


def draw(record: Mapping[str, Any], file: Path) -> None:
    """Time and memory against length, both on logarithmic scales."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    except ModuleNotFoundError:
        raise seqx.UserError("--draw needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, what, unit in zip(figure.subplots(1, 2), ("seconds", "kept"), ("s", "MiB"), strict=True):
        for name, found in record["layers"].items():
            scale = 1 if what == "seconds" else 2**-20
            xs = [point["length"] for point in found["points"]]
            axes.plot(xs, [point[what] * scale for point in found["points"]], marker=".", label=name)
        axes.set(xlabel="length n", ylabel=unit, title={"seconds": "time", "kept": "memory"}[what])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.grid(visible=True, alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper")
    figure.suptitle(f"One layer, forward and backward, d = {record['width']}")
    figure.savefig(file)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def main() -> int:
    """Measure, print the table, write and draw what is asked for."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--width", type=_positive, default=64, help="d")
    parser.add_argument("--shortest", type=_positive, default=64, help="the first length")
    parser.add_argument("--longest", type=int, default=8192, help="no length beyond it")
    parser.add_argument("--repeats", type=_positive, default=5, help="times that each is measured")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    parser.add_argument("--draw", type=Path, help="where a picture goes: .svg, .png, .pdf")
    arguments = parser.parse_args()
    if arguments.longest < arguments.shortest:
        parser.error(f"--longest {arguments.longest} is below --shortest {arguments.shortest}")
    lengths = [arguments.shortest]
    while lengths[-1] * 2 <= arguments.longest:
        lengths.append(lengths[-1] * 2)
    torch.set_num_threads(1)  # so that the processor's time is that of the work, whatever else runs beside
    found = {}
    for name, component, layer in layers(arguments.width):
        points = measure(layer, lengths, arguments.width, Limits(), arguments.repeats)
        claim = CLAIMS.get(component.name)
        known = [point.length for point in points]
        found[name] = {
            "claim": asdict(claim) if claim else None,
            "growth": {
                what: exponent(known, [getattr(point, what) for point in points])
                for what in ("seconds", "kept")
            },
            "points": [asdict(point) for point in points],
        }
        print(f"{name}: measured up to {known[-1]}", file=sys.stderr)
    record = {**provenance(), "width": arguments.width, "layers": found}
    print("\n".join(table(record)))
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if arguments.draw:
        draw(record, arguments.draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
