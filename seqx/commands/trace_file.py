"""Write the file of the option `--trace`: the hypotheses of each step of a search."""

from pathlib import Path

from seqx.errors import UserError, unwritable
from seqx.inference import Predictor
from seqx.interfaces.task import NBest
from seqx.storage.direct_output import open_output
from seqx.storage.json_format import json_text


class TraceFile:
    """A file of JSON lines, one for each step of the search.

    Args:
        file: the file, which is replaced
        predictor: the predictor; it records traces from now on

    Raises:
        UserError: the file cannot be written, or the task does not use a search
    """

    def __init__(self, file: Path, predictor: Predictor) -> None:
        if not predictor.task.uses_search:
            raise UserError("--trace: the task of this model does not use a search; leave it out")
        self._file = file
        self._predictor = predictor
        predictor.record_traces()
        try:
            open_output(file, "w").close()
        except OSError as error:
            raise unwritable(f"--trace {file}", error) from None

    def write(self, number: int, nbest: NBest) -> None:
        """Write the steps of the searches for the answers to one input line.

        Raises:
            UserError: the file cannot be written
        """
        try:
            with open_output(self._file, "a") as stream:
                for part, searches in enumerate(nbest.traces, 1):
                    for search, steps in enumerate(searches, 1):
                        for step, hypotheses in enumerate(steps, 1):
                            place = {"line": number, "part": part, "search": search, "step": step}
                            listed = [
                                {
                                    "tokens": self._predictor.symbols("target", hypothesis.ids),
                                    "score": hypothesis.score,
                                    "logprob": hypothesis.logprob,
                                    "outcome": hypothesis.outcome,
                                }
                                for hypothesis in hypotheses
                            ]
                            text = json_text({**place, "hypotheses": listed}, ensure_ascii=False)
                            stream.write(f"{text}\n")
        except OSError as error:
            raise unwritable(f"--trace {self._file}", error) from None
