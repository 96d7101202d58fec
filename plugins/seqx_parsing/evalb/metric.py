"""EVALB, the measure of constituency parsing (Sekine and Collins 1997), in the version of 2006."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import seqx
from seqx_parsing.evalb.brackets import Line, MalformedError, read_line
from seqx_parsing.evalb.parameters import COLLINS, Parameters, read_parameters
from seqx_parsing.evalb.report import by_label, mistakes, table
from seqx_parsing.evalb.sentence import Sentence, count
from seqx_parsing.evalb.totals import Totals
from seqx_parsing.roots import Roots


@dataclass(frozen=True, kw_only=True)
class Evalb(seqx.Metric):
    """Labelled brackets, as EVALB counts them: its figures to the last digit, its table to the byte.

    A sentence whose words are not the reference's is an error and one without words is skipped; both leave
    all figures, so that a parser gains by breaking its bad trees. Therefore `strict`: such a sentence matches
    nothing, and its reference's brackets count. Its own count against precision if they can be read; a
    malformed or missing tree has none. The scores are then called `strict_f1` and so on. Unlike EVALB ours
    stops at no number of errors, and a tree has no greatest size.

    Args:
        parameters: a parameter file (.prm); COLLINS.prm when left out
        strict: count what EVALB leaves out
        labels: report the figures of each label, too
        errors: report why sentences are errors or skipped, too
    """

    parameters: str | None = None
    strict: bool = False
    labels: bool = False
    errors: bool = False

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """The figures in percent: F1 first, and last the F1 of short sentences."""
        parameters, sentences = self._counted(outputs, references)
        everything = Totals.of(sentences)
        short = Totals.of(one for one in sentences if one.length <= parameters.cutoff)
        said = self._signature(everything, "all", parameters)
        named = {
            "f1": everything.f1,
            "recall": everything.recall,
            "precision": everything.precision,
            "complete_match": everything.complete_match,
            "tag_accuracy": everything.tag_accuracy,
        }
        prefix = "strict_" if self.strict else ""
        scores = {f"{prefix}{name}": seqx.Score(value=value, signature=said) for name, value in named.items()}
        said = self._signature(short, f"<={parameters.cutoff}", parameters)
        return {
            **scores,
            f"{prefix}f1_len{parameters.cutoff}": seqx.Score(value=short.f1, signature=said),
        }

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report a file of parameters that cannot be read."""
        try:
            self._read()
        except seqx.UserError as error:
            yield "parameters", str(error)

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Warn about an outermost label that is scored although it is probably a dummy root."""
        return _roots(outputs, references, self._read())

    def report(self, outputs: Sequence[str], references: Sequence[str]) -> str:
        """What EVALB prints, and below it what the settings ask for."""
        parameters, sentences = self._counted(outputs, references)
        parts = [table(sentences, parameters)]
        if self.labels:
            parts.append(by_label(Totals.of(sentences)))
        if self.errors:
            parts.append(mistakes(sentences, parameters, _roots(outputs, references, parameters)))
        return "\n".join(parts)

    def _counted(
        self, outputs: Sequence[str], references: Sequence[str]
    ) -> tuple[Parameters, list[Sentence]]:
        if len(outputs) != len(references):
            raise seqx.UserError(
                f"there are {len(references):,} references and {len(outputs):,} outputs; "
                "each line must answer one, an empty line where there is no tree"
            )
        parameters = self._read()
        return parameters, [
            count(_gold(reference, number, parameters), output, parameters, strict=self.strict)
            for number, (output, reference) in enumerate(zip(outputs, references, strict=True), 1)
        ]

    def _read(self) -> Parameters:
        """Read the parameters when they are needed; a model may be loaded after the file is gone."""
        return read_parameters(seqx.expand_path(self.parameters)) if self.parameters else COLLINS

    def _signature(self, totals: Totals, lengths: str, parameters: Parameters) -> str:
        return (
            f"prm:{parameters.signature}|mode:{'strict' if self.strict else 'evalb'}|len:{lengths}|"
            f"valid:{totals.valid}|error:{totals.errors}|skip:{totals.skipped}|version:{seqx.__version__}"
        )


def _roots(outputs: Sequence[str], references: Sequence[str], parameters: Parameters) -> list[str]:
    """Return a warning for each dummy root that is scored."""
    found: dict[str, list[str]] = {}
    for side, texts in (("references", references), ("outputs", outputs)):
        roots = Roots()
        for text in texts:
            try:
                line = read_line(text, parameters)
            except MalformedError:
                continue
            if line.words:
                roots.add(*line.outermost(parameters))
        for root in roots.dummies:
            found.setdefault(root, []).append(f"{'all' if root == roots.dummy else 'some'} {side}")
    return [
        f"{root} is the outermost bracket of {' and of '.join(sides)} and is scored as any other bracket; "
        f"if it is a dummy root, give parameters with DELETE_LABEL {root}, or write TOP instead"
        for root, sides in found.items()
    ]


def _gold(reference: str, number: int, parameters: Parameters) -> Line:
    try:
        return read_line(reference, parameters)
    except MalformedError as error:
        raise seqx.UserError(f"references:{number}: this is no tree: {error}") from None
