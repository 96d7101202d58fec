"""The interface of input layers, with which a model reads sources other than token ids.

Letters in shapes: B sentences, S source tokens, F features of a token, D = d_model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from seqx.interfaces.specification import EmbeddingSpec, UnspecifiedError
from seqx.interfaces.tensors import Column, Features, Layout, ScaledEmbedding


class InputLayer(nn.Module, ABC):
    """A map from a source to the embeddings that an encoder reads. It may shorten the source.

    Args:
        size: the number of features of a source token, or the size of the vocabulary if `reads_ids` is true
        d_model: width of the embeddings, D

    Raises:
        ValueError: the layer reads vectors and the source has ids, or the reverse
    """

    reads_ids: ClassVar[bool] = False
    """True if the layer reads token ids [B, S]; false if it reads vectors [B, S, F]."""

    def __init__(self, size: int, d_model: int) -> None:
        super().__init__()
        if isinstance(size, Features) == self.reads_ids:
            found = f"vectors of {size} features" if self.reads_ids else f"the ids of {size} symbols"
            expected = "token ids" if self.reads_ids else "vectors"
            raise ValueError(
                f"this input layer reads {expected}, but the source of the task has {found}; "
                "choose another input layer, or none to embed token ids"
            )
        self.size = size
        self.d_model = d_model

    @abstractmethod
    def forward(self, source: Column) -> tuple[Tensor, Layout]:
        """Return the embeddings [B, S', D] of a source, and their layout.

        A layer that keeps the length returns the layout of the source. The embeddings of padding are ignored.
        """

    def output_length(self, length: int) -> int:
        """Return the number of embeddings of a source of `length` tokens.

        A longer source must not have fewer embeddings.
        """
        return length

    def embed(self, source: Column) -> tuple[Tensor, Layout]:
        """Return the embeddings of a source, and their layout, as `forward` does.

        Models call this method, because `ScaledEmbedding` has a method of the same name.
        """
        embeddings, layout = self(source)
        return embeddings, layout

    def specification(self) -> EmbeddingSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


def source_input(
    make: Callable[[int, int], InputLayer] | None, size: int, d_model: int, *, scaled: bool, std: float | None
) -> InputLayer | ScaledEmbedding:
    """Return the input layer of a model, or embeddings of token ids if it has none.

    Args:
        make: builds the input layer; None: embed token ids
        size: the number of features of a source token, or the size of the vocabulary
        d_model: width of the embeddings, D
        scaled: see `ScaledEmbedding`
        std: see `ScaledEmbedding`
    """
    return ScaledEmbedding(size, d_model, scaled=scaled, std=std) if make is None else make(size, d_model)
