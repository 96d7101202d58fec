"""EVALB, the standard evaluation of constituency parsers (Sekine and Collins 1997), version of 2006."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import seqx
from seqx_parsing.evalb.brackets import BracketedLine, MalformedError, read_line
from seqx_parsing.evalb.parameters import COLLINS, Parameters, read_parameters
from seqx_parsing.evalb.report import error_list, label_table, table
from seqx_parsing.evalb.sentence import SentenceCounts, compare
from seqx_parsing.evalb.totals import Totals
from seqx_parsing.roots import RootLabels

_RESULTS = ("valid", "error", "skip")  # fields of signatures that count sentences


@dataclass(frozen=True, kw_only=True)
class Evalb(seqx.Metric):
    """Labelled bracketing scores, equal to EVALB's to the last digit; `report` prints the same table.

    EVALB does not count sentences whose words differ from the reference (errors) and sentences without words
    (skipped). A parser could therefore raise its scores by writing no tree where it is uncertain. With
    `strict`, such a sentence counts: the brackets of its reference count for recall, and those of the output
    count for precision if they can be read, but none of them match. The scores are then called `strict_f1`
    and so on. Unlike EVALB, there is no maximum number of errors and no maximum size of a tree.

    Args:
        parameters: parameter file (.prm); COLLINS.prm is the default
        strict: count the sentences that EVALB does not count
        labels: also report the scores of each label
        errors: also report the reason for each error and for each skipped sentence
    """

    parameters: str | None = None
    strict: bool = False
    labels: bool = False
    errors: bool = False

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the scores in percent: F1 first, the F1 of short sentences last."""
        parameters, sentences = self._count_sentences(outputs, references)
        every_length = Totals.of(sentences)
        short = Totals.of(one for one in sentences if one.length <= parameters.cutoff)
        signature = self._signature(every_length, "all", parameters)
        named = {
            "f1": every_length.f1,
            "recall": every_length.recall,
            "precision": every_length.precision,
            "complete_match": every_length.complete_match,
            "tag_accuracy": every_length.tag_accuracy,
        }
        prefix = "strict_" if self.strict else ""
        scores = {
            f"{prefix}{name}": seqx.Score(
                value=value,
                signature=signature,
                results=_RESULTS,
                is_detail=name != "f1",
                note=self._left_out(every_length) if name == "f1" else "",
            )
            for name, value in named.items()
        }
        signature = self._signature(short, f"<={parameters.cutoff}", parameters)
        of_short = seqx.Score(value=short.f1, signature=signature, results=_RESULTS, is_detail=True)
        return {**scores, f"{prefix}f1_len{parameters.cutoff}": of_short}

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report a parameter file that cannot be read."""
        try:
            self._read()
        except seqx.UserError as error:
            yield "parameters", str(error)

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Return warnings about probable dummy roots that are scored, and about sentences left out."""
        warnings = _root_warnings(outputs, references, self._read())
        if outputs and (left_out := self._left_out(Totals.of(self._count_sentences(outputs, references)[1]))):
            warnings.append(
                f"the scores are computed {left_out}; errors=true lists the reasons, strict=true counts them"
            )
        return warnings

    def report(self, outputs: Sequence[str], references: Sequence[str]) -> str:
        """Return EVALB's table, then the tables of `labels` and `errors` if these settings are true."""
        parameters, sentences = self._count_sentences(outputs, references)
        parts = [table(sentences, parameters)]
        if self.labels:
            parts.append(label_table(Totals.of(sentences)))
        if self.errors:
            parts.append(error_list(sentences, parameters, _root_warnings(outputs, references, parameters)))
        return "\n".join(parts)

    def _count_sentences(
        self, outputs: Sequence[str], references: Sequence[str]
    ) -> tuple[Parameters, list[SentenceCounts]]:
        if len(outputs) != len(references):
            raise seqx.UserError(
                f"there are {len(references):,} references and {len(outputs):,} outputs; "
                "write one line per reference, empty if there is no tree"
            )
        parameters = self._read()
        return parameters, [
            compare(_read_reference(reference, number, parameters), output, parameters, strict=self.strict)
            for number, (output, reference) in enumerate(zip(outputs, references, strict=True), 1)
        ]

    def _read(self) -> Parameters:
        """Return the parameters; they are read here so that a model loads without its parameter file."""
        return read_parameters(seqx.expand_path(self.parameters)) if self.parameters else COLLINS

    def _left_out(self, totals: Totals) -> str:
        """Return a note about sentences that are not scored; "" if there are none, or with `strict`."""
        count = totals.sentences - totals.counted
        if self.strict or not count:
            return ""
        errors = "1 error" if totals.errors == 1 else f"{totals.errors:,} errors"
        return f"without {count:,} of {totals.sentences:,} sentences ({errors}, {totals.skipped:,} skipped)"

    def _signature(self, totals: Totals, lengths: str, parameters: Parameters) -> str:
        return (
            f"prm:{parameters.signature}|mode:{'strict' if self.strict else 'evalb'}|len:{lengths}|"
            f"valid:{totals.valid}|error:{totals.errors}|skip:{totals.skipped}|version:{seqx.__version__}"
        )


def _root_warnings(outputs: Sequence[str], references: Sequence[str], parameters: Parameters) -> list[str]:
    """Return a warning for each dummy root that is scored."""
    found: dict[str, list[str]] = {}
    for side, texts in (("references", references), ("outputs", outputs)):
        roots = RootLabels()
        for text in texts:
            try:
                line = read_line(text, parameters)
            except MalformedError:
                continue
            if line.words:
                roots.add(*line.outermost(parameters))
        for root in roots.probable_dummies:
            found.setdefault(root, []).append(f"{'all' if root == roots.common_dummy else 'some'} {side}")
    return [
        f"{root} is the outermost bracket of {' and of '.join(sides)} and is scored like any other bracket; "
        f"if it is a dummy root, add DELETE_LABEL {root} to the parameters, or replace it by TOP"
        for root, sides in found.items()
    ]


def _read_reference(reference: str, number: int, parameters: Parameters) -> BracketedLine:
    try:
        return read_line(reference, parameters)
    except MalformedError as error:
        raise seqx.UserError(f"references:{number}: not a tree: {error}") from None
