"""Translation: text in, text out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

import seqx
from seqx_translation.sentence_splitter import split_text


@dataclass(kw_only=True, eq=False)
class Translation(seqx.Seq2SeqTask):
    """Translates one column of a corpus into another.

    Args:
        corpus: where sentence pairs come from
        tokenizer: what makes ids of text; of both languages together, unless `target_tokenizer` is set
        target_tokenizer: another tokenizer for the target language
        ratio: most tokens of the longer side for one of the shorter; other pairs are dropped as badly matched
        source: the column of the corpus that is translated, from 0
        target: the column that it is translated into
        tags: first words of sources that say what is wanted, as <2de>: what has each of them is scored by
            itself, the mean counts first, and each part of a text that is too long has its tag
    """

    ratio: Annotated[float, Ge(1)] = 4.0
    source: Annotated[int, Ge(0)] = 0
    target: Annotated[int, Ge(0)] = 1
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(f"source and target are the same column of the corpus, {self.source}")
        if len({tag.strip("<>") for tag in self.tags}) < len(self.tags) or not all(self.tags):
            raise ValueError("tags: give each tag once, and none that is empty")
        super().__post_init__()

    def columns(self) -> Mapping[str, int]:
        """The columns of both sides."""
        return {"source": self.source, "target": self.target}

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Get the corpus; sources that are to be scored by their tags have some."""
        super().fetch(folder, progress, splits)
        if self.tags:
            for split in splits:
                for text in self.inputs(self.read_split(split)) if split != "train" else ():
                    self._own_tag(text)

    def training_warnings(self) -> Sequence[str]:
        """Warn about tags that the vocabulary splits into several pieces."""
        cut = [tag for tag in self.tags if tag not in self.symbols("source", self.read(tag)["source"])]
        if not cut:
            return ()
        told = (
            f"task.tags: the vocabulary splits {', '.join(cut)} into several pieces; add it to "
            "task.tokenizer.symbols before the vocabulary is learnt, and check that task.source_normalizers "
            "do not change it"
        )
        return (told,)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Source and target of each pair."""
        for row in self.corpus.rows(split):
            if max(self.source, self.target) >= len(row):
                raise seqx.UserError(
                    f"task.source is {self.source} and task.target {self.target}, "
                    f"but the corpus has {len(row)} columns, counted from 0"
                )
            yield row[self.source], row[self.target]

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """The ids of both sides, with EOS."""
        made = super().example(row, training=training)
        if training and isinstance(made, seqx.Example):
            shorter, longer = sorted(map(len, made.columns.values()))
            if longer > self.ratio * shorter:
                return seqx.Rejected("badly matched")
        return made

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """A text of more than `max_length` tokens as its sentences, and these as parts where they must be."""
        tag, rest = self._tag(text)
        before = f"{tag} " if tag else ""
        parts = split_text(rest, lambda part: len(self.read(before + part)["source"]) <= max_length)
        return [before + part for part in parts]

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the metrics' scores and, with tags, those of each tag."""
        names = [*(super().score_names() or ())]
        return names + [f"{name}.{tag.strip('<>')}" for tag in self.tags for name in names]

    def score(
        self, inputs: Sequence[str], outputs: Sequence[str], references: Sequence[str]
    ) -> Mapping[str, seqx.Score]:
        """Each metric's scores of what has each tag, behind their mean; without tags, of the whole."""
        if not self.tags:
            return self.scores(outputs, references)
        parts: dict[str, tuple[list[str], list[str]]] = {tag: ([], []) for tag in self.tags}
        for text, *pair in zip(inputs, outputs, references, strict=True):
            tag = self._own_tag(text)
            for side, one in zip(parts[tag], pair, strict=True):
                side.append(one)
        found = {tag: self.scores(*sides) for tag, sides in parts.items() if sides[0]}
        each = {
            f"{name}.{tag.strip('<>')}": score
            for tag, scores in found.items()
            for name, score in scores.items()
        }
        means = {}
        for name, first in next(iter(found.values())).items():
            value = sum(scores[name].value for scores in found.values()) / len(found)
            signature = f"mean of:{'+'.join(found)}|{first.signature}"
            means[name] = replace(first, value=value, signature=signature)
        return means | each

    def _own_tag(self, text: str) -> str:
        """The tag of a source that must have one."""
        tag, _ = self._tag(text)
        if not tag:
            raise seqx.UserError(
                f"task.tags: the source {text[:40]!r} begins with none of {', '.join(self.tags)}; "
                "put tags before the text, as the corpus tagged does"
            )
        return tag

    def _tag(self, text: str) -> tuple[str, str]:
        """The tag of a source, "" where it has none, and the rest."""
        first, _, rest = text.lstrip().partition(" ")
        return (first, rest) if first in self.tags else ("", text)
