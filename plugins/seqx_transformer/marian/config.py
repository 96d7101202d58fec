"""The configuration files of Marian models, and the recipe that follows from them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError, model_validator

import seqx
from seqx_transformer.export.huggingface import EARLY_STOPPING

MAX_BYTES = 1 << 24
"""The maximum size of a file in JSON."""

_Count = Annotated[int, Gt(0), Le(1 << 24)]
_Layers = Annotated[int, Gt(0), Le(1000)]
_Probability = Annotated[float, Ge(0), Lt(1)]
_Id = Annotated[int, Ge(0)]
_Zero = Annotated[float, Ge(0), Le(0)]

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}
"""The feed-forward component of seqx for each activation function."""


class _File(BaseModel):
    """The content of a JSON file. A field that is null is treated like a missing one."""

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: each for key, each in value.items() if each is not None}


class Config(_File):
    """The fields of `config.json`. Values that are not allowed here belong to other architectures."""

    model_type: Literal["marian"]
    d_model: Annotated[int, Gt(0), Le(1 << 16)]
    encoder_layers: _Layers
    decoder_layers: _Layers
    num_hidden_layers: _Layers | None = None  # another name of encoder_layers
    encoder_attention_heads: _Count
    decoder_attention_heads: _Count
    encoder_ffn_dim: _Count
    decoder_ffn_dim: _Count
    activation_function: Literal["relu", "gelu", "swish", "silu"] = "gelu"
    dropout: _Probability = 0.1
    attention_dropout: _Probability = 0.0
    activation_dropout: _Probability = 0.0
    vocab_size: _Count
    decoder_vocab_size: _Count | None = None
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    scale_embedding: bool = False
    max_position_embeddings: Annotated[int, Gt(1), Le(1 << 24)] = 1024
    pad_token_id: _Id
    eos_token_id: _Id
    decoder_start_token_id: _Id
    encoder_layerdrop: _Zero = 0.0
    decoder_layerdrop: _Zero = 0.0
    static_position_embeddings: Literal[True] = True
    normalize_before: Literal[False] = False
    normalize_embedding: Literal[False] = False
    add_final_layer_norm: Literal[False] = False
    is_decoder: Literal[False] = False
    quantization_config: None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for side in ("encoder", "decoder"):
            heads = getattr(self, f"{side}_attention_heads")
            if self.d_model % heads:
                raise ValueError(f"{side}_attention_heads ({heads}) must divide d_model ({self.d_model})")
        if self.num_hidden_layers not in (None, self.encoder_layers):
            raise ValueError(
                f"num_hidden_layers ({self.num_hidden_layers}) must be encoder_layers ({self.encoder_layers})"
            )
        if self.d_model % 2:
            raise ValueError(f"d_model ({self.d_model}) must be even")
        for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
            if getattr(self, name) >= self.target_size:
                raise ValueError(f"{name} ({getattr(self, name)}) is not in the vocabulary")
        if self.share_encoder_decoder_embeddings and self.target_size != self.vocab_size:
            raise ValueError("decoder_vocab_size must be vocab_size with share_encoder_decoder_embeddings")
        return self

    @property
    def target_size(self) -> int:
        """The number of symbols of the target vocabulary."""
        return self.decoder_vocab_size or self.vocab_size

    @property
    def tie_embeddings(self) -> Literal["none", "target", "all"]:
        """The value of the setting `tie_embeddings` of seqx."""
        if not self.tie_word_embeddings:
            return "none"
        return "all" if self.share_encoder_decoder_embeddings else "target"


class Generation(_File):
    """The fields of `generation_config.json`. Values that are not allowed here belong to other searches."""

    num_beams: Annotated[int, Gt(0), Le(1000)] = 1
    length_penalty: Annotated[float, Ge(0), Le(10)] = 1.0
    early_stopping: bool | Literal["never"] = False
    max_length: Annotated[int, Gt(2), Le(1_000_000)] = 20
    max_new_tokens: Annotated[int, Gt(1), Le(1_000_000)] | None = None
    bad_words_ids: list[list[int]] = []
    suppress_tokens: list[int] = []
    renormalize_logits: bool = False
    no_repeat_ngram_size: Annotated[int, Ge(0)] = 0
    repetition_penalty: Annotated[float, Gt(0)] = 1.0
    min_length: Annotated[int, Ge(0)] = 0
    forced_eos_token_id: int | None = None
    do_sample: Literal[False] = False
    num_beam_groups: Annotated[int, Ge(1), Le(1)] = 1
    diversity_penalty: _Zero = 0.0
    encoder_no_repeat_ngram_size: Annotated[int, Ge(0), Le(0)] = 0
    encoder_repetition_penalty: Annotated[float, Ge(1), Le(1)] = 1.0
    min_new_tokens: None = None
    forced_bos_token_id: None = None
    begin_suppress_tokens: None = None
    exponential_decay_length_penalty: None = None
    sequence_bias: None = None
    force_words_ids: None = None
    constraints: None = None

    def check_supported(self, config: Config, file: Path) -> None:
        """Check that a search of seqx can exclude and force the same symbols, and give the same scores.

        Raises:
            UserError: other symbols are excluded or forced, scores are normalized again, or logits are
                penalized
        """
        allowed = {config.pad_token_id, config.decoder_start_token_id}
        for name, words in (
            ("bad_words_ids", self.bad_words_ids),
            ("suppress_tokens", [[token] for token in self.suppress_tokens]),
        ):
            if any(len(word) != 1 or word[0] not in allowed for word in words):
                raise refused(file, f"{name}: seqx excludes only pad_token_id and decoder_start_token_id")
        if self.renormalize_logits and any(_processors(self)):
            raise refused(
                file,
                "renormalize_logits: seqx does not normalize scores again after no_repeat_ngram_size, "
                "repetition_penalty or min_length; set it to false, which may change outputs",
            )
        if self.num_beams == 1 and self.repetition_penalty != 1:
            raise refused(
                file,
                "repetition_penalty: with num_beams 1, transformers applies it to logits, and seqx to "
                "log-probabilities; set num_beams to 2 or more, or repetition_penalty to 1, which may change "
                "outputs",
            )
        if self.forced_eos_token_id not in (None, config.eos_token_id):
            raise refused(file, "forced_eos_token_id: must be eos_token_id, or null")


M = TypeVar("M", bound=BaseModel)


def refused(file: Path, problem: str) -> seqx.UserError:
    """Return the error about a field of a file that seqx cannot express."""
    return seqx.UserError(f"{file}: {problem}; `seqx import` reads Marian models as on the Hugging Face hub")


def read(file: Path, kind: type[M]) -> M:
    """Read a configuration file.

    Raises:
        UserError: it cannot be read, or a field has a value that seqx cannot express
    """
    try:
        fields = seqx.read_bounded_json(file, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise seqx.UserError(f"{file}: cannot be read ({error}); download the model again") from None
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise refused(file, seqx.first_error(error, fields)) from None


def read_config(folder: Path) -> tuple[Config, Generation]:
    """Read the configuration of the model and that of its search.

    Raises:
        UserError: a file cannot be read, or has a value that seqx cannot express
    """
    file = folder / "config.json"
    config = read(file, Config)
    if (folder / "generation_config.json").exists():
        file = folder / "generation_config.json"
    generation = read(file, Generation)
    generation.check_supported(config, file)
    return config, generation


def recipe(config: Config, generation: Generation, source: int, target: int) -> dict[str, Any]:
    """Return the recipe of a model: task, model and search.

    Args:
        config: the configuration of the model
        generation: the configuration of its search
        source: the number of symbols of the source vocabulary
        target: the number of symbols of the target vocabulary
    """
    return {
        "task": {
            "type": "translation",
            "corpus": {"type": "files"},
            "tokenizer": {"type": "marian", "size": source},
            "target_tokenizer": {"type": "marian", "size": target},
            "metrics": [{"type": "bleu"}],
            "max_length": min(512, config.max_position_embeddings),
        },
        "model": {
            "type": "encoder_decoder",
            "d_model": config.d_model,
            "tie_embeddings": config.tie_embeddings,
            "scale_embeddings": config.scale_embedding,
            "output_bias": True,
            **{side: _stack(config, side) for side in ("encoder", "decoder")},
        },
        "search": {
            "type": "normalized_beam",
            "size": generation.num_beams,
            "alpha": generation.length_penalty,
            "stop": {value: stop for stop, value in EARLY_STOPPING.items()}[generation.early_stopping],
            "ratio": 0.0,
            # Without the start symbol and EOS, which transformers counts.
            "extra": (generation.max_new_tokens or generation.max_length - 1) - 1,
            "forced_eos": generation.forced_eos_token_id is not None,
            "processors": [*_processors(generation)],
        },
    }


def _stack(config: Config, side: str) -> dict[str, Any]:
    return {
        "type": "transformer",
        "layers": getattr(config, f"{side}_layers"),
        "attention": {
            "type": "multihead",
            "heads": getattr(config, f"{side}_attention_heads"),
            "bias": True,
            "dropout": config.attention_dropout,
        },
        "feedforward": {
            "type": ACTIVATIONS[config.activation_function],
            "width": getattr(config, f"{side}_ffn_dim"),
            "dropout": config.activation_dropout,
        },
        "dropout": config.dropout,
    }


def _processors(generation: Generation) -> Iterator[dict[str, Any]]:
    if generation.repetition_penalty != 1:
        yield {"type": "repetition_penalty", "penalty": generation.repetition_penalty}
    if generation.no_repeat_ngram_size:
        yield {"type": "no_repeat_ngram", "size": generation.no_repeat_ngram_size}
    if generation.min_length > 1:  # it counts the start symbol
        yield {"type": "min_length", "length": generation.min_length - 1}
