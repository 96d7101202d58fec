"""Evaluation of a model on a split: the scores of its task, and the perplexity."""

import math
from dataclasses import replace

from seqx.inference.predictor import Predictor
from seqx.interfaces.scores import AnswerWarning, Evaluation, perplexity
from seqx.interfaces.task import Example, Split


def evaluate(predictor: Predictor, split: Split) -> Evaluation:
    """Evaluate a model on a split with its task, and add the perplexity if the task does not compute it.

    The perplexity is per target token, EOS included. Compare it only between models with the same vocabulary.
    It excludes examples that are too long; a warning gives their number.
    """
    evaluation = predictor.task.evaluate(predictor, split)
    if evaluation.perplexity is not None:
        return evaluation
    rows = (predictor.task.example(row, training=False) for row in split.rows)
    examples = [example for example in rows if isinstance(example, Example)]
    logprobs = predictor.logprobs(examples)
    scored = [
        (example, logprob) for example, logprob in zip(examples, logprobs, strict=True) if logprob is not None
    ]
    tokens = sum(len(example.columns["target"]) for example, _ in scored)
    too_long = AnswerWarning(
        f"examples have more than {predictor.max_length} tokens; the perplexity leaves them out",
        len(examples) - len(scored),
        len(examples),
    )
    return replace(
        evaluation,
        perplexity=perplexity(-math.fsum(logprob for _, logprob in scored) / tokens) if tokens else None,
        warnings=[*evaluation.warnings, too_long],
    )
