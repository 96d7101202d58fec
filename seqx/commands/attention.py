"""What `--attention` leaves in its folder: where a model looked, as numbers and as pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from safetensors.torch import save
from torch import Tensor

from seqx.commands.pictures import Panel, drawing, lines, maps
from seqx.errors import unwritable
from seqx.inference import AttentionMaps, Predictor

LARGEST = 128
"""Tokens across a picture. One of more would take minutes, and could not be read."""


class AttentionFolder:
    """A folder of weights, and of pictures of them, numbered by input lines.

    `000001.safetensors` has a tensor [H, Q, K] for each attention, under its name in the model, and in its
    metadata, as JSON, the tokens of `source` and `target`. For each pair of sides that look and are looked at
    there are two pictures, of layers (rows) by heads (columns); none where one would have more tokens than
    `LARGEST`.

    Raises:
        UserError: the folder cannot be written, or what draws is not installed
    """

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        drawing()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(f"--attention {folder}", error) from None
        self._folder = folder
        self._predictor = predictor

    def write(self, number: int, text: str, ids: Sequence[int]) -> None:
        """What the model looked at while it read line `number`, `text`, and wrote `ids`."""
        attended = self._predictor.attention(text, ids)
        if attended is None or not attended.maps:
            why = "is too long" if attended is None else "met no attention that has weights"
            click.echo(f"line {number} {why}: nothing is written to {self._folder} for it", err=True)
            return
        places = max(max(looked.weights.shape[2:]) for looked in attended.maps.values())
        try:
            tensors = self._write(f"{number:06}", attended)
            if places <= LARGEST:
                self._draw(f"{number:06}", attended, tensors)
        except OSError as error:
            raise unwritable(self._folder, error) from None
        if places > LARGEST:
            click.echo(
                f"line {number} or its answer has {places} tokens, and a picture at most {LARGEST}: "
                f"weights alone are written to {self._folder} for it",
                err=True,
            )

    def _write(self, name: str, attended: AttentionMaps) -> Mapping[str, Tensor]:
        tensors = {path: looked.weights[0].cpu().contiguous() for path, looked in attended.maps.items()}
        told = {
            side: json.dumps(getattr(attended, side), ensure_ascii=False) for side in ("source", "target")
        }
        (self._folder / f"{name}.safetensors").write_bytes(save(tensors, told))
        return tensors

    def _draw(self, name: str, attended: AttentionMaps, tensors: Mapping[str, Tensor]) -> None:
        read, written = list(attended.source), list(attended.target)
        rows = {"source": read, "target": written, "text": read[1:] + written}
        columns = {"source": read, "target": ["<s>", *written[:-1]], "text": read + written[:-1]}
        for queries, keys in dict.fromkeys((look.queries, look.keys) for look in attended.maps.values()):
            panels = [
                Panel(path, weights.numpy(), rows[queries], columns[keys])
                for path, weights in tensors.items()
                if (attended.maps[path].queries, attended.maps[path].keys) == (queries, keys)
            ]
            for kind, draw in (("map", maps), ("lines", lines)):
                draw(panels, self._folder / f"{name}-{queries}-{keys}-{kind}.svg")
