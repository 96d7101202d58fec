"""Write the files of the option `--attention`: attention weights and figures of them."""

import json
from collections.abc import Mapping
from pathlib import Path

import click
from safetensors.torch import save
from torch import Tensor

from seqx.commands.attention_figures import Panel, draw_lines, draw_maps, import_matplotlib
from seqx.errors import unwritable
from seqx.inference import AttentionMaps, Predictor
from seqx.interfaces.task import NBest

MAX_TOKENS = 128
"""Maximum tokens of a figure. A larger figure would take minutes to draw and could not be read."""


class AttentionFolder:
    """A folder of attention weights and figures. Each file name begins with the number of an input line.

    `000001.safetensors` has a tensor [H, Q, K] for each attention layer, under the layer's name in the model.
    Its metadata has the tokens of `source` and `target` as JSON. Inputs of at most `MAX_TOKENS` tokens also
    have two figures for each combination of query side and key side, such as `000001-target-source-map.svg`.

    Raises:
        UserError: the folder cannot be written, or matplotlib is not installed
    """

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        import_matplotlib()
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(f"--attention {folder}", error) from None
        self._folder = folder
        self._predictor = predictor

    def write(self, number: int, text: str, nbest: NBest) -> None:
        """Write the attention weights of one input and its best answer, if there is one.

        Args:
            number: number of the input line
            text: the input
            nbest: its answers
        """
        if not nbest:
            return
        attention = self._predictor.attention(text, nbest[0].hypothesis.ids)
        if attention is None or not attention.maps:
            problem = "is too long" if attention is None else "has no attention weights"
            click.echo(f"line {number} {problem}; {self._folder} has no files for it", err=True)
            return
        tokens = max(max(layer.weights.shape[2:]) for layer in attention.maps.values())
        try:
            tensors = self._write_weights(f"{number:06}", attention)
            if tokens <= MAX_TOKENS:
                self._draw(f"{number:06}", attention, tensors)
        except OSError as error:
            raise unwritable(self._folder, error) from None
        if tokens > MAX_TOKENS:
            click.echo(
                f"line {number} or its output has {tokens} tokens, but a figure shows at most {MAX_TOKENS}; "
                f"{self._folder} has its attention weights, but no figures",
                err=True,
            )

    def _write_weights(self, name: str, attention: AttentionMaps) -> Mapping[str, Tensor]:
        tensors = {path: layer.weights[0].cpu().contiguous() for path, layer in attention.maps.items()}
        metadata = {
            side: json.dumps(getattr(attention, side), ensure_ascii=False) for side in ("source", "target")
        }
        (self._folder / f"{name}.safetensors").write_bytes(save(tensors, metadata))
        return tensors

    def _draw(self, name: str, attention: AttentionMaps, tensors: Mapping[str, Tensor]) -> None:
        query_symbols, key_symbols = attention.query_symbols, attention.key_symbols
        for queries, keys in dict.fromkeys((layer.queries, layer.keys) for layer in attention.maps.values()):
            panels = [
                Panel(path, weights.numpy(), query_symbols[queries], key_symbols[keys])
                for path, weights in tensors.items()
                if (attention.maps[path].queries, attention.maps[path].keys) == (queries, keys)
            ]
            for style, draw in (("map", draw_maps), ("lines", draw_lines)):
                draw(panels, self._folder / f"{name}-{queries}-{keys}-{style}.svg")
