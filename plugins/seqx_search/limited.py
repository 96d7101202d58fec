"""What the searches share: how long an output may become, and when to look whether all is done."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

import seqx

NOT_FINITE = "the model's logits are not finite: it is damaged, or diverged in training"


@dataclass(frozen=True, kw_only=True)
class Limited(seqx.Search):
    """A search whose outputs have at most `ratio * source + extra` tokens, EOS counted on neither side.

    At its limit a hypothesis is made to end: EOS follows, and its probability counts. The defaults are
    those of Vaswani et al. 2017, section 6.1: input length + 50.

    Args:
        ratio: tokens of output allowed for each token of the source
        extra: tokens of output allowed besides
    """

    ratio: Annotated[float, Ge(0), Le(1_000)] = 1.0
    extra: Annotated[int, Ge(0), Le(1_000_000)] = 50

    def __post_init__(self) -> None:
        if self.ratio == 0 and self.extra == 0:
            raise ValueError("ratio and extra are both 0, so that every output would be empty")

    def limits(self, lengths: Tensor) -> Tensor:
        """The longest output [B], EOS not counted, for sources of `lengths` [B] tokens, EOS not counted."""
        return (lengths.double() * self.ratio + self.extra).long()


def check_every(tokens: Tensor) -> int:
    """After how many steps to ask which sentences are done: asking a GPU means waiting for it."""
    return 8 if tokens.is_cuda else 1
