"""The weights of Marian models, by the names of seqx."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

import seqx
from seqx_transformer.layers import Sinusoidal
from seqx_transformer.marian.config import Config
from seqx_transformer.marian.vocabulary import Vocabulary

EXCLUDED = -100.0
"""The output bias of a symbol whose probability is set to 0.

It is not -inf, so that the loss with label smoothing stays small; e^-100 is 0 in practice.
"""

_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}


def read_tensors(folder: Path, *, pickled: bool) -> tuple[dict[str, Tensor], Path]:
    """Return the tensors of a model by their names, and the file.

    Raises:
        UserError: the file is missing, damaged, or not in a format that may be read
    """
    file = folder / "model.safetensors"
    if not file.is_file():
        file = folder / "pytorch_model.bin"
        if not file.is_file():
            raise seqx.UserError(f"{folder}: has no model.safetensors; download this file, too")
        if not pickled:
            raise seqx.UserError(
                f"{file}: is a pickle, and the folder has no model.safetensors; convert it, or add "
                "--from '{type: huggingface, pickle: true}', which reads it with torch's restricted loader"
            )
    tensors = _read_pickle(file) if file.suffix == ".bin" else _read_safetensors(file)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise seqx.UserError(f"{file}: does not hold tensors by name; download the model again")
    return tensors, file


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise seqx.UserError(f"{file}: cannot be read ({error}); download the model again") from None


def _read_pickle(file: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  the loader lets a damaged pickle raise anything
        # The text of the error is left out: it advises to load the file without restrictions.
        raise seqx.UserError(
            f"{file}: cannot be read by torch's restricted loader ({type(error).__name__}); download the "
            "model again"
        ) from None


class Weights:
    """The tensors of a Marian model. They are taken one by one, so that a remaining tensor is noticed.

    The features of all vectors of width d_model are reordered. In the positional encoding of seqx, sines and
    cosines alternate; in that of Marian, all cosines follow all sines.
    """

    def __init__(self, tensors: dict[str, Tensor], file: Path, config: Config) -> None:
        self._tensors = dict(tensors)
        self._file = file
        self._config = config
        half = torch.arange(config.d_model // 2)
        self._order = torch.stack([half, half + config.d_model // 2], 1).flatten()

    def take(self, name: str, *shape: int) -> Tensor:
        """Return a tensor, and remove it.

        Raises:
            UserError: it is missing, has another shape, or holds no finite numbers
        """
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            raise self._error(f"{name} is missing")
        if tensor.shape != shape:
            raise self._error(f"{name} is {list(tensor.shape)} and should be {list(shape)}")
        if not tensor.is_floating_point():
            raise self._error(f"{name} is of {tensor.dtype}, which is not a number format of weights")
        tensor = tensor.float()
        if name == "final_logits_bias":
            tensor = tensor.masked_fill(tensor == -torch.inf, EXCLUDED)
        if not tensor.isfinite().all():
            raise self._error(f"{name} has infinite or undefined numbers")
        return tensor

    def take_tied(self, *names: str, shape: tuple[int, int]) -> Tensor:
        """Return a matrix that has several names, and remove it. At least one name must be in the file.

        Raises:
            UserError: the file has none of the names, or their matrices differ
        """
        present = [self.take(name, *shape) for name in names if name in self._tensors]
        if not present:
            raise self._error(f"{names[0]} is missing")
        if not all(torch.equal(present[0], other) for other in present[1:]):
            raise self._error(f"{', '.join(names)} differ, but config.json says that they are tied")
        return present[0]

    def model(self, source: Vocabulary, target: Vocabulary) -> Iterator[tuple[str, Tensor]]:
        """Yield all weights by their names in seqx.

        Raises:
            UserError: the tensors are not those of the model in config.json
        """
        yield from self._embeddings(source, target)
        for side in ("encoder", "decoder"):
            self._check_positions(f"model.{side}.embed_positions.weight")
            for i in range(getattr(self._config, f"{side}_layers")):
                yield from self._layer(side, i)
        if self._tensors:
            raise self._error(f"{next(iter(self._tensors))} is not a tensor of a Marian model")

    def _embeddings(self, source: Vocabulary, target: Vocabulary) -> Iterator[tuple[str, Tensor]]:
        config = self._config
        shared, encoder = "model.shared.weight", "model.encoder.embed_tokens.weight"
        decoder, projection = "model.decoder.embed_tokens.weight", "lm_head.weight"
        tied = [projection] if config.tie_word_embeddings else []
        source_shape, shape = (config.vocab_size, config.d_model), (config.target_size, config.d_model)
        if config.share_encoder_decoder_embeddings:
            targets = sources = self.take_tied(shared, encoder, decoder, *tied, shape=shape)
        else:
            sources = self.take(encoder, *source_shape)
            targets = self.take_tied(decoder, *tied, shape=shape)
        yield "target.weight", self._ordered(targets[target.rows], 1)
        if config.tie_embeddings != "all":
            yield "source.weight", self._ordered(sources[source.rows], 1)
        if not tied:
            yield "projection.weight", self._ordered(self.take(projection, *shape)[target.rows], 1)
        bias = torch.zeros(config.target_size)
        if "final_logits_bias" in self._tensors:
            (bias,) = self.take("final_logits_bias", 1, config.target_size)
        bias = bias[target.rows]
        bias[target.excluded] = EXCLUDED
        yield "output_bias", bias

    def _layer(self, side: str, i: int) -> Iterator[tuple[str, Tensor]]:
        theirs, ours = f"model.{side}.layers.{i}", f"{side}.layers.{i}"
        d_model, width = self._config.d_model, getattr(self._config, f"{side}_ffn_dim")
        attentions = {"self_attn": ("attention", "attended")}
        if side == "decoder":
            attentions["encoder_attn"] = ("cross_attention", "crossed")
        for name, (attention, residual) in attentions.items():
            for part, projection in _ATTENTION.items():
                yield from self._linear(
                    f"{theirs}.{name}.{part}",
                    f"{ours}.{attention}.{projection}",
                    d_model,
                    d_model,
                    is_output=part == "out_proj",
                )
            yield from self._norm(f"{theirs}.{name}_layer_norm", f"{ours}.{residual}.norm")
        yield from self._linear(f"{theirs}.fc1", f"{ours}.feedforward.inner", width, d_model, is_output=False)
        yield from self._linear(f"{theirs}.fc2", f"{ours}.feedforward.outer", d_model, width, is_output=True)
        yield from self._norm(f"{theirs}.final_layer_norm", f"{ours}.transformed.norm")

    def _linear(
        self, theirs: str, ours: str, outputs: int, inputs: int, *, is_output: bool
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield a linear map, whose outputs or inputs are vectors of width d_model."""
        weight, bias = self.take(f"{theirs}.weight", outputs, inputs), self.take(f"{theirs}.bias", outputs)
        yield f"{ours}.weight", self._ordered(weight, 0 if is_output else 1)
        yield f"{ours}.bias", self._ordered(bias, 0) if is_output else bias

    def _norm(self, theirs: str, ours: str) -> Iterator[tuple[str, Tensor]]:
        for part in ("weight", "bias"):
            yield f"{ours}.{part}", self._ordered(self.take(f"{theirs}.{part}", self._config.d_model), 0)

    def _check_positions(self, name: str) -> None:
        """Check that the positional encoding is sinusoidal, if the file has it."""
        if name not in self._tensors:
            return
        d_model, count = self._config.d_model, self._config.max_position_embeddings
        found = self._ordered(self.take(name, count, d_model), 1)
        expected = Sinusoidal(d_model, 1).embed(torch.zeros(1, count, d_model), torch.arange(count)[None])[0]
        if not torch.allclose(found, expected, rtol=0, atol=1e-3):
            raise self._error(f"{name} is not sinusoidal")

    def _ordered(self, tensor: Tensor, dim: int) -> Tensor:
        return tensor.index_select(dim, self._order)

    def _error(self, problem: str) -> seqx.UserError:
        return seqx.UserError(f"{self._file}: {problem}; download the model and its config.json again")
