"""Comparison of the scores of another program with those of seqx."""

from collections.abc import Callable

import torch

import seqx

Ids = list[list[int]]


def check_scores(
    model: seqx.Model, text: seqx.TextSpec, score: Callable[[Ids, Ids], list[float]], program: str
) -> None:
    """Compare the scores of random targets in another program with those of seqx.

    Args:
        model: the model
        text: the vocabulary of the model
        score: the other program: returns the log-probability of each target, including EOS, for the ids of
            sources and targets without EOS
        program: the name of the program

    Raises:
        PluginError: the scores differ; a component has a wrong `specification`
    """
    generator = torch.Generator().manual_seed(0)
    longest = min(model.limit or 24, 24) - 2
    lengths = (longest, max(1, longest // 2), 1)
    sources, targets = (
        [torch.randint(4, size, (length,), generator=generator).tolist() for length in lengths]
        for size in (len(text.source.symbols), len(text.target.symbols))
    )
    ours, theirs = seqx_scores(model, sources, targets), score(sources, targets)
    difference = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    if not difference < 1e-3:
        raise seqx.PluginError(
            f"the scores of {program} differ from those of seqx by up to {difference:.3g}: a component of "
            "the model describes itself wrongly in `specification`"
        )


def seqx_scores(model: seqx.Model, sources: Ids, targets: Ids) -> list[float]:
    """Return the log-probability of each target with EOS."""
    scores = []
    for source, target in zip(sources, targets, strict=True):
        first = [seqx.BOS] if model.single_sequence else [*source, seqx.EOS]
        columns = {
            name: seqx.Column.of(torch.tensor([ids]), torch.tensor([len(ids)]))
            for name, ids in (("source", first), ("target", [*target, seqx.EOS]))
        }
        with torch.no_grad():
            scores.append(float(model.score(seqx.Batch.of(**columns)).double().sum()))
    return scores
