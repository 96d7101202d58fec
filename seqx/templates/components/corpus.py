import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Gt

import seqx


@dataclass(frozen=True, kw_only=True)
class Newcomer(seqx.Corpus):
    """Generated rows with a sum and its result, such as `17 + 4` and `21`.

    Args:
        count: number of training rows; `dev` and `test` have a tenth of it
        largest: largest summand
    """

    count: Annotated[int, Gt(9)] = 1000
    largest: Annotated[int, Gt(0)] = 999

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        pass

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        rng = random.Random(split)
        for _ in range(self.count if split == "train" else self.count // 10):
            a, b = rng.randint(0, self.largest), rng.randint(0, self.largest)
            yield f"{a} + {b}", str(a + b)


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Corpus, newcomer=Newcomer)
