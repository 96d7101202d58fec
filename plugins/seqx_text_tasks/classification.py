"""Classification: text in, one label out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import seqx
from seqx_text_tasks.labels import Labels, OneLabel
from seqx_text_tasks.text_to_text import TextToText


@dataclass(kw_only=True, eq=False)
class Classification(TextToText):
    """Says which label a text has: its sentiment, its topic, its language.

    Labels are those of the training rows, and travel with the model. A label is a target of one token.

    Args:
        tokenizer: what makes ids of the text that is read
        target_tokenizer: what makes ids of labels: one for each, unless another is set, by which labels are
            spelt as any text (Raffel et al. 2020)
        target: the column that has the labels, from 0
    """

    target_tokenizer: seqx.Tokenizer | None = field(default_factory=Labels)

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of the text and of its label, each with EOS.

        Raises:
            UserError: the vocabulary, which is that of training.init_from, lacks the label
        """
        made = super().example(row, training=training)
        known = isinstance(made, seqx.Rejected) or seqx.UNK not in made.columns["target"]
        if training and not known and isinstance(self.target_tokenizer, Labels):
            raise seqx.UserError(
                f"the training text has the label {row[1][:40]!r}, which the model of training.init_from "
                "lacks; leave such rows out, or train without training.init_from"
            )
        return made

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar | None:
        """What lets one label be written, and nothing else."""
        return OneLabel(self.target_tokenizer.size) if isinstance(self.target_tokenizer, Labels) else None
