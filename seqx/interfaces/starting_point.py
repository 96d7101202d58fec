"""The recipe with which users start to train a task on their own text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """The recipe with which users start to train a task on their own text.

    In the template, `seqx new recipe` replaces $train, $dev and $test by the list of files of a split,
    $train_path, $dev_path and $test_path by its first file, and $layers, $d_model, $heads, $width, $dropout,
    $vocabulary, $steps, $tokens, $warmup, $peak, $every, $save_every and $record_every by numbers that fit
    the text and the budget. It removes each line that ends in the placeholder of a split without files.

    Args:
        columns: the content of each file of a split, in order, such as "source text"
        template: the file with the recipe
        stacks: the number of stacks of layers of the model: 2 for an encoder and a decoder
    """

    columns: Sequence[str]
    template: Path
    stacks: int = 2
