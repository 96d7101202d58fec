"""The task of translation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

import seqx
from seqx_translation.sentence_splitter import split_text


@dataclass(kw_only=True, eq=False)
class Translation(seqx.Seq2SeqTask):
    """Translation of one column of a corpus into another one.

    Args:
        corpus: the corpus of sentence pairs
        tokenizer: the tokenizer; it is shared by both languages unless `target_tokenizer` is set
        target_tokenizer: a separate tokenizer of the target language
        ratio: maximum ratio of the lengths of a training pair, the longer one divided by the shorter one, in
            tokens; pairs with a larger ratio are dropped as misaligned
        source: the corpus column of the source, counted from 0
        target: the corpus column of the target
        tags: tags at the beginning of sources, such as <2de>. Each tag has scores of its own, and the mean
            over tags is the first score. If a text is translated in parts, each part gets the tag
        more_references: further corpus columns of the development and test sets that contain references, for
            metrics with several references
    """

    action = "translate"
    next_commands = ("echo {input} | seqx translate {model}",)
    starting_point = seqx.StartingPoint(
        columns=("source text", "its translation"), template=Path(__file__).with_name("starting_point.yaml")
    )

    ratio: Annotated[float, Ge(1)] = 4.0
    source: Annotated[int, Ge(0)] = 0
    target: Annotated[int, Ge(0)] = 1
    tags: tuple[str, ...] = ()
    more_references: tuple[Annotated[int, Ge(0)], ...] = ()

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(
                f"source and target are the same corpus column, {self.source}; change one of them"
            )
        if len({tag.strip("<>") for tag in self.tags}) < len(self.tags) or not all(self.tags):
            raise ValueError("tags: contains duplicates or an empty tag; list each tag once")
        super().__post_init__()

    def columns(self) -> Mapping[str, int]:
        """Return the corpus column of source and target."""
        return {"source": self.source, "target": self.target}

    @property
    def languages(self) -> tuple[str, str] | None:
        """The languages of the corpus columns `source` and `target`; None if `tags` select the target."""
        languages = dict(enumerate(self.corpus.languages))
        source, target = languages.get(self.source), languages.get(self.target)
        return (source, target) if source and target and not self.tags else None

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch the corpus; check the metrics, and that sources begin with a tag if `tags` are set."""
        for setting, problem in self._metrics_of_one_reference():
            raise seqx.UserError(f"task.{setting}: {problem}")
        super().fetch(folder, progress, splits)
        for split in splits if self.tags else ():
            for row, text in enumerate(self.inputs(self.read_split(split)) if split != "train" else ()):
                if not self._split_tag(text)[0]:
                    raise seqx.UserError(f"{self.row_location(split, row)}: {self._missing_tag(text)}")

    def setting_errors(self) -> Iterator[tuple[str, str]]:
        """Report errors of the corpus and the metrics, and metrics that cannot read `more_references`."""
        yield from super().setting_errors()
        yield from self._metrics_of_one_reference()

    def _metrics_of_one_reference(self) -> Iterator[tuple[str, str]]:
        for number, metric in enumerate(self.metrics if self.more_references else ()):
            if type(metric).compare is seqx.Metric.compare:
                problem = "it compares an output with one reference; remove it, or leave out more_references"
                yield f"metrics.{number}", problem

    def training_warnings(self) -> Sequence[str]:
        """Warn about tags that the vocabulary splits into several symbols."""
        split_tags = [tag for tag in self.tags if tag not in self.symbols("source", self.read(tag)["source"])]
        if not split_tags:
            return ()
        message = (
            f"task.tags: the vocabulary splits {', '.join(split_tags)} into several symbols; add it to "
            "task.tokenizer.symbols before the tokenizer is trained, and check that task.source_normalizers "
            "do not change it"
        )
        return (message,)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the source and target of each row."""
        for row in self.corpus.rows(split):
            yield seqx.select_columns(row, {"task.source": self.source, "task.target": self.target})

    def read_split(self, name: str) -> seqx.Split:
        """Read the rows of a split into memory; those of dev and test have all references."""
        split = super().read_split(name)
        if not self.more_references or name == "train":
            return split
        columns = {f"task.more_references.{i}": column for i, column in enumerate(self.more_references)}
        rows = (seqx.select_columns(row, columns) for row in self.corpus.rows(name))
        return replace(split, more_references=[*zip(*rows, strict=True)])

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of source and target, each with EOS; reject misaligned training pairs."""
        example = super().example(row, training=training)
        if training and isinstance(example, seqx.Example):
            shorter, longer = sorted(map(len, example.columns.values()))
            if longer > self.ratio * shorter:
                return seqx.Rejected("misaligned")
        return example

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """Split a text of more than `max_length` tokens into sentences, and longer sentences into parts."""
        tag, rest = self._split_tag(text)
        prefix = f"{tag} " if tag else ""
        parts = split_text(rest, lambda part: len(self.read(prefix + part)["source"]) <= max_length)
        return [prefix + part for part in parts] or [text]  # white space after a tag has no parts

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the metrics' scores and, with tags, those of each tag."""
        names = [*(super().score_names() or ())]
        return names + [f"{name}.{tag.strip('<>')}" for tag in self.tags for name in names]

    def score(
        self, inputs: Sequence[str], outputs: Sequence[str], *references: Sequence[str]
    ) -> Mapping[str, seqx.Score]:
        """Score all outputs; with `tags`, score each tag separately, and put the means first."""
        if not self.tags:
            return self.scores(outputs, *references, sources=inputs)
        by_tag = {
            tag: self.scores(
                *([texts[row] for row in rows] for texts in (outputs, *references)),
                sources=[self._split_tag(inputs[row])[1] for row in rows],
            )
            for tag, rows in self._rows_by_tag(inputs).items()
        }
        each = {
            f"{name}.{tag.strip('<>')}": score
            for tag, scores in by_tag.items()
            for name, score in scores.items()
        }
        means = {}
        for name, first in next(iter(by_tag.values())).items():
            value = sum(scores[name].value for scores in by_tag.values()) / len(by_tag)
            signature = f"mean of:{'+'.join(by_tag)}|{first.signature}"
            means[name] = replace(first, value=value, signature=signature, interval=None, note="")
        return means | each

    def answer_scores(self, answers: Sequence[seqx.Answer]) -> list[Mapping[str, seqx.Score]]:
        """Return the scores of each answer alone; metrics get the inputs without tags."""
        return super().answer_scores([*map(self._without_tag, answers)])

    def significance(
        self, baseline: Sequence[seqx.Answer], answers: Sequence[seqx.Answer], resamples: int
    ) -> Mapping[str, seqx.Significance]:
        """Test the differences of all metrics; with `tags`, those of each tag, but not those of the means."""
        if not self.tags:
            return super().significance(baseline, answers, resamples)
        found: dict[str, seqx.Significance] = {}
        for tag, rows in self._rows_by_tag([answer.input for answer in answers]).items():
            before, after = ([self._without_tag(each[row]) for row in rows] for each in (baseline, answers))
            results = super().significance(before, after, resamples)
            found |= {f"{name}.{tag.strip('<>')}": result for name, result in results.items()}
        return found

    def specification(self) -> seqx.TextSpec:
        """Return the tokenizers and the names of the normalizers."""
        return super().specification()

    def _rows_by_tag(self, inputs: Sequence[str]) -> dict[str, list[int]]:
        """Return the numbers of the inputs with each tag; tags without inputs are left out.

        Raises:
            UserError: an input does not begin with a tag
        """
        tags = [*map(self._require_tag, inputs)]
        by_tag = {tag: [row for row, other in enumerate(tags) if other == tag] for tag in self.tags}
        return {tag: rows for tag, rows in by_tag.items() if rows}

    def _without_tag(self, answer: seqx.Answer) -> seqx.Answer:
        return replace(answer, input=self._split_tag(answer.input)[1])

    def _require_tag(self, text: str) -> str:
        """Return the tag of a source.

        Raises:
            UserError: the source does not begin with a tag
        """
        tag, _ = self._split_tag(text)
        if not tag:
            raise seqx.UserError(self._missing_tag(text))
        return tag

    def _missing_tag(self, text: str) -> str:
        """Return the message that a source does not begin with a tag."""
        if not text.strip():  # the corpus `tagged` puts no tag before it
            return "task.tags: the source is empty, so it has no tag; remove the row"
        return (
            f"task.tags: the source {text[:40]!r} does not begin with one of {', '.join(self.tags)}; "
            "put a tag before the text, for example with the corpus `tagged`"
        )

    def _split_tag(self, text: str) -> tuple[str, str]:
        """Return the tag of a source ("" if it has none), and the text after it."""
        first, _, rest = text.lstrip().partition(" ")
        return (first, rest) if first in self.tags else ("", text)
