"""Text classification: one label per text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import seqx
from seqx_text_tasks.labels import Labels, OneLabel
from seqx_text_tasks.text_to_text import TextToText


@dataclass(kw_only=True, eq=False)
class Classification(TextToText):
    """Assigns a label to a text, such as its sentiment, topic or language.

    The labels of the training rows are saved with the model. A label is a target of one token.

    Args:
        tokenizer: the tokenizer of the text
        target_tokenizer: the vocabulary of labels. By default each label is one token; another tokenizer
            spells labels like any text (Raffel et al. 2020)
        target: the column of the labels, counted from 0
    """

    target_tokenizer: seqx.Tokenizer | None = field(default_factory=Labels)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of the text and of its label, each with EOS.

        Raises:
            UserError: the label is not in the vocabulary, which is that of training.init_from
        """
        example = super().example(row, training=training)
        known = isinstance(example, seqx.Rejected) or seqx.UNK not in example.columns["target"]
        if training and not known and isinstance(self.target_tokenizer, Labels):
            raise seqx.UserError(
                f"the training text has the label {row[1][:40]!r}, which the model of training.init_from "
                "lacks; remove such rows, or train without training.init_from"
            )
        return example

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar | None:
        """Return the grammar of a single label; None if labels are spelled."""
        return OneLabel(self.target_tokenizer.size) if isinstance(self.target_tokenizer, Labels) else None
