"""Write the file of the option `--alignment`: word alignments of inputs and their answers."""

from pathlib import Path

import click

from seqx.errors import unwritable
from seqx.inference import Predictor
from seqx.inference.alignment import WordAligner, format_links
from seqx.interfaces.task import Example, NBest
from seqx.storage.direct_output import open_output

alignment_options = (
    click.option(
        "--layer",
        type=click.IntRange(1),
        metavar="N",
        help="Cross-attention that aligns words, from 1; left out: the last but one. `seqx align --gold` "
        "compares them.",
    ),
    click.option(
        "--head",
        type=click.IntRange(1),
        metavar="N",
        help="Head that aligns words, from 1; left out: the mean of all heads of the layer.",
    ),
)


class AlignmentFile:
    """A file in which line i has the links between the words of input line i and those of its best answer.

    A line is empty if there is no answer, or if the input was answered in parts.

    Args:
        file: the file, which is replaced
        predictor: the model
        aligner: aligns words by this model

    Raises:
        UserError: the file cannot be written
    """

    def __init__(self, file: Path, predictor: Predictor, aligner: WordAligner) -> None:
        self._file = file
        self._predictor = predictor
        self._aligner = aligner
        try:
            open_output(file, "w").close()
        except OSError as error:
            raise unwritable(f"--alignment {file}", error) from None

    def write(self, text: str, nbest: NBest) -> None:
        """Write the links of an input line and its best answer.

        Raises:
            UserError: the file cannot be written
        """
        columns = self._predictor.pair_columns(text, nbest[0].hypothesis.ids) if nbest else None
        links = None
        if columns is not None:
            links = self._aligner.links(Example(columns=columns), text, nbest.text)
        try:
            with open_output(self._file, "a") as stream:
                stream.write(f"{format_links(links or ())}\n")
        except OSError as error:
            raise unwritable(f"--alignment {self._file}", error) from None
