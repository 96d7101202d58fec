"""Text classification: one label per text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import seqx
from seqx_text_tasks.labels import Labels
from seqx_text_tasks.text_to_text import ColumnTask


@dataclass(kw_only=True, eq=False)
class Classification(ColumnTask):
    """Classification of texts, for example by sentiment, topic or language.

    The labels of the training rows are saved with the model. A target is one token, the label. Any model can
    be used: its prediction of the first target token is the prediction of the label.

    Args:
        tokenizer: the tokenizer of the text
        target_tokenizer: the labels; each is one token
        target: the column of the labels, counted from 0
    """

    action = "classify"
    next_commands = ("echo {input} | seqx classify {model}",)
    source_tokens = 25.0
    starting_point = seqx.StartingPoint(
        columns=("text", "label"),
        template=Path(__file__).parent / "starting_points/classification.yaml",
        stacks=1,
    )

    target_tokenizer: seqx.Tokenizer | None = field(default_factory=Labels)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.target_tokenizer, Labels):
            raise ValueError(  # noqa: TRY004  ValueErrors become messages about the recipe
                "target_tokenizer: a label is one token, so this must be labels; to write labels of several "
                "tokens, use the task text_to_text with a model that generates, such as encoder_decoder"
            )

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        """Return the ids of the text with EOS, and that of its label.

        Raises:
            UserError: the label is not in the vocabulary, which is that of training.init_from
        """
        example = super().example(row, training=training)
        is_known = isinstance(example, seqx.Rejected) or seqx.UNK not in example.columns["target"]
        if training and not is_known:
            raise seqx.UserError(
                f"the training text has the label {row[1][:40]!r}, but the model of training.init_from does "
                "not; set training.init_from.vocabulary: extend, or remove such rows"
            )
        return example

    def scored_example(self, texts: Sequence[str]) -> seqx.Example | seqx.Rejected:
        """Return the example of a text and its label.

        Raises:
            UserError: the model has no such label
        """
        example = super().scored_example(texts)
        if isinstance(example, seqx.Example) and seqx.UNK in example.columns["target"]:
            raise seqx.UserError(f"the model has no label {texts[1][:40]!r}; correct or remove the line")
        return example

    def answer(
        self, model: seqx.Model, inputs: seqx.Inputs, search: seqx.Search | None
    ) -> list[list[seqx.Candidate]]:
        """Return the most probable labels of each text, with their probabilities."""
        source = inputs.batch.columns["source"].values
        unknown = source.new_full((len(source), 1), seqx.UNK)  # the model predicts this token, and ignores it
        target = seqx.Column.of(unknown, unknown.new_ones(len(source)))
        batch = seqx.Batch({**inputs.batch.columns, "target": target}, len(source))
        logprobs = model.head(model(batch)[:, 0]).double().log_softmax(1)[:, seqx.UNK + 1 :]
        best, labels = logprobs.topk(min(inputs.num_answers, logprobs.size(1)))
        return [
            [self._candidate(label + seqx.UNK + 1, logprob) for label, logprob in zip(*row, strict=True)]
            for row in zip(labels.tolist(), best.tolist(), strict=True)
        ]

    def mistakes(self, answers: Sequence[seqx.Answer]) -> list[seqx.MistakeGroup]:
        """Return the labels that were predicted instead of others."""
        pairs = (seqx.LabelPair(i, answer.output, answer.reference) for i, answer in enumerate(answers))
        return seqx.label_mistakes(pairs, "texts")

    def _candidate(self, label: int, logprob: float) -> seqx.Candidate:
        hypothesis = seqx.Hypothesis(ids=[label], score=logprob, logprob=logprob)
        return seqx.Candidate(self.target_text([label]), hypothesis)
