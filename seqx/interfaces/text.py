"""The interfaces of text: normalizers, tokenizers, corpora, metrics."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqx.errors import UserError
from seqx.interfaces.codec import Codec
from seqx.interfaces.paired_bootstrap import paired_bootstrap
from seqx.interfaces.rows import Row
from seqx.interfaces.scores import Score, Significance
from seqx.interfaces.specification import TokenizerSpec, UnspecifiedError

SPLITS = ("train", "dev", "test")
"""The splits of a corpus: training, validation, and test."""


ProgressReporter = Callable[[str, float | None], None]
"""A function that gets the current work in a few words, and its finished fraction, 0 to 1 (None: unknown)."""


Problem = tuple[str, str]
"""The name of a setting, such as `train.0` for the first item of `train`, and a message about it."""


class Normalizer(ABC):
    """A change of text before tokenization, and its inverse for outputs. It is stored with the model."""

    @abstractmethod
    def __call__(self, text: str) -> str:
        """Return the normalized text. Called for each side of each row, and for each input."""

    def restore(self, text: str) -> str:
        """Undo the normalization in an output, as far as possible."""
        return text


class Tokenizer(Codec, ABC):
    """The mapping between text and token ids.

    The ids 0 to 3 are PAD, BOS, EOS and UNK. Of these, `encode` returns only UNK.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """The size of the vocabulary: before `learn` the requested one, afterwards the exact one."""

    @abstractmethod
    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Learn the vocabulary and write it into `folder`; called once, before training.

        Args:
            lines: the training text, which can be iterated once
            folder: an empty folder that is stored with the model
        """

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Load the vocabulary that `learn` wrote into `folder`."""

    def extend(self, lines: Iterable[str], old: Path, folder: Path) -> None:
        """Load the vocabulary in `old`, add what it lacks, and write it into `folder`.

        All ids of `old` keep their symbols. A symbol that is added gets the next id.

        Args:
            lines: the training text, which can be iterated once
            old: a folder that `learn` or `extend` has written
            folder: an empty folder that is stored with the model

        Raises:
            UserError: this tokenizer cannot extend a vocabulary
        """
        raise UserError(
            f"training.init_from.vocabulary: the tokenizer {type(self).__name__} cannot extend a vocabulary; "
            "set vocabulary: keep"
        )

    @abstractmethod
    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the ids of a text, without BOS and EOS.

        Args:
            text: the text
            rng: draw one of several segmentations (subword regularisation, Kudo 2018); None: the best one
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are ignored."""

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """Return a readable form of each id, for figures of attention weights."""
        return [self.decode([token]) for token in ids]

    def surfaces(self) -> Sequence[bytes | None]:
        """Return the UTF-8 bytes that each id writes; None for PAD, BOS, EOS and ids without fixed text.

        The joined bytes of the ids of a text are the text and the characters that `decode` removes, such as a
        leading space. An id may write a part of a character. Constraints on outputs (`seqx.LexicalGrammar`)
        need these bytes.

        Raises:
            NotImplementedError: the tokenizer does not support constraints
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not implement surfaces, which constraints need"
        )

    def specification(self) -> TokenizerSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


@dataclass(frozen=True, kw_only=True)
class RequiredData:
    """The text that a corpus reads from outside of seqx; `seqx recipes` shows it, and whether it is present.

    Args:
        files: the paths of files and folders, as recipes write them: `${NAME}` is an environment variable
        download_bytes: the number of bytes that `Corpus.fetch` downloads; 0: users provide the files
    """

    files: Sequence[str] = ()
    download_bytes: int = 0

    def __add__(self, other: "RequiredData") -> "RequiredData":
        return RequiredData(
            files=[*dict.fromkeys([*self.files, *other.files])],
            download_bytes=self.download_bytes + other.download_bytes,
        )


class Corpus(ABC):
    """A source of rows: for each column a string, a number, an array, or a nest of these."""

    unique: bool = True
    """True if repeated training rows are removed; false if the corpus repeats rows on purpose."""

    @property
    def available(self) -> Sequence[str]:
        """The splits that the corpus has ("train", "dev", "test"), known before `fetch`; by default all."""
        return SPLITS

    @property
    def width(self) -> int | None:
        """The number of columns; None if it is not known before `fetch`."""
        return None

    @property
    def languages(self) -> Sequence[str]:
        """The ISO 639 code of the language of each column, "" where it is unknown; empty if all are."""
        return ()

    def setting_errors(self) -> Iterable[Problem]:
        """Return errors that can be found quickly and that `fetch` would raise, such as missing files.

        `seqx check` and `seqx run` report them at the settings that they name.
        """
        return ()

    @abstractmethod
    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Make the rows of some splits available, if they are not available yet; called before `rows`.

        Files of other splits may be missing: scoring a model needs no training text.

        Args:
            folder: the folder for downloads, which all runs share
            progress: called often, with the current work
            splits: the splits that will be read

        Raises:
            UserError: text is missing; the message says what to do
        """

    @abstractmethod
    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of a split, always in the same order.

        Raises:
            UserError: with file and line, if the text cannot be read
        """

    def num_rows(self, split: str) -> int | None:
        """Return the number of rows of a split after `fetch`; None if it is not known without reading them.

        It serves to show the progress of preparation.
        """
        return None

    def required_data(self, folder: Path) -> RequiredData | None:
        """Return the text that the corpus needs, without reading it; None, the default: it is not known.

        Args:
            folder: the folder for downloads, as in `fetch`
        """
        return None

    def row_location(self, split: str, row: int) -> str:
        """Return the location of row number `row` (from 0) for messages: file and line if they are known."""
        return f"row {row + 1:,} of {split}"

    def identity(self) -> Mapping[str, object]:
        """Return plain values that identify the content: equal identities mean equal rows.

        They are part of the keys of the cache, with the settings of the task and the code of its plugins.
        Paths alone do not identify text; add sizes, times or hashes. Valid after a `fetch` of all splits.
        """
        return {}


TRIAL = ["This is a trial of some words."]
"""A text for which metrics are computed before training, so that a missing package is reported at once."""

_OTHER_TRIAL = ["These are others."]


class Metric(ABC):
    """A comparison of outputs with references."""

    @abstractmethod
    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, Score]:
        """Return the scores of all outputs together, by name, the main score first."""

    def compare(self, outputs: Sequence[str], *references: Sequence[str]) -> Mapping[str, Score]:
        """Return the scores of all outputs against one or several lists of references.

        Raises:
            UserError: the metric compares an output with one reference only; this is the default
        """
        if len(references) != 1:
            raise UserError(
                f"{type(self).__name__} compares an output with one reference, not {len(references)}; name "
                "one list of references, or another metric, such as bleu, chrf or ter"
            )
        return self(outputs, references[0])

    def for_sources(self, sources: Sequence[str]) -> "Metric":
        """Return a metric that scores the outputs for these sources; by default, sources do not matter."""
        return self

    def sentence_scores(
        self, outputs: Sequence[str], *references: Sequence[str]
    ) -> list[Mapping[str, Score]]:
        """Return the scores of each output alone, against its reference of each list."""
        return [self.compare(*([text] for text in texts)) for texts in zip(outputs, *references, strict=True)]

    def significance(
        self, baseline: Sequence[str], outputs: Sequence[str], *references: Sequence[str], resamples: int
    ) -> Mapping[str, Significance]:
        """Test the difference between the scores of two lists of outputs by a paired bootstrap (Koehn 2004).

        By default, the test compares the means of the scores of single outputs.

        Args:
            baseline: the outputs of the baseline
            outputs: the other outputs, for the same inputs
            references: lists of references, each with one for each output
            resamples: the number of resamples
        """
        before, after = (self.sentence_scores(texts, *references) for texts in (baseline, outputs))
        return {
            name: paired_bootstrap(
                [scores[name].value for scores in before], [scores[name].value for scores in after], resamples
            )
            for name in (before[0] if before else ())
            if all(name in scores for scores in (*before, *after))
        }

    def setting_errors(self) -> Iterable[Problem]:
        """Return errors that prevent the computation, such as a missing file or package."""
        return ()

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the scores, in order; None if they depend on the text, such as one per label.

        By default, it scores two short texts. Override it if the metric imports a package that loads slowly.

        Raises:
            UserError: the metric cannot be computed
        """
        names, other_names = (list(self(text, text)) for text in (TRIAL, _OTHER_TRIAL))
        return names if names == other_names else None

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Return warnings about scores against these references, one line each.

        Args:
            references: the reference texts
            outputs: the scored texts, if they are known
        """
        return ()

    def report(self, outputs: Sequence[str], references: Sequence[str]) -> str:
        """Return the scores and their explanation as lines of text, which `seqx score` prints."""
        scores = self(outputs, references)
        return "".join(f"{name} {score}\n" for name, score in scores.items())
