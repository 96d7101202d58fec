"""Text classification: one label per text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import seqx
from seqx_text_tasks.labels import Labels, OneLabel
from seqx_text_tasks.text_to_text import TextToText


@dataclass(kw_only=True, eq=False)
class Classification(TextToText):
    """Classification of texts, for example by sentiment, topic or language.

    The labels of the training rows are saved with the model. A target is one token, the label.

    Args:
        tokenizer: the tokenizer of the text
        target_tokenizer: the tokenizer of the labels. With `labels`, the default, each label is one token.
            Other tokenizers encode labels like any text (Raffel et al. 2020)
        target: the column of the labels, counted from 0
    """

    target_tokenizer: seqx.Tokenizer | None = field(default_factory=Labels)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of the text and of its label, each with EOS.

        Raises:
            UserError: the label is not in the vocabulary, which comes from training.init_from
        """
        example = super().example(row, training=training)
        is_known = isinstance(example, seqx.Rejected) or seqx.UNK not in example.columns["target"]
        if training and not is_known and isinstance(self.target_tokenizer, Labels):
            raise seqx.UserError(
                f"the training text has the label {row[1][:40]!r}, but the model of training.init_from does "
                "not; remove such rows, or train without training.init_from"
            )
        return example

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar | None:
        """Return the grammar of a single label; None if a label can have several tokens."""
        return OneLabel(self.target_tokenizer.size) if isinstance(self.target_tokenizer, Labels) else None
