"""The paired bootstrap test of a difference between two means over the same sentences."""

from collections.abc import Sequence

import numpy as np

from seqx.interfaces.scores import Significance

_SEED = 12345  # as in sacreBLEU
_MAX_NUMBERS = 1 << 22  # in a chunk of resamples


def paired_bootstrap(baseline: Sequence[float], scores: Sequence[float], resamples: int) -> Significance:
    """Test whether two means differ, given the scores of the same sentences (Koehn 2004).

    Each resample draws sentences with replacement. Let d be the observed difference, and d* that of a
    resample. The p-value is the fraction of resamples with |d* - d| >= |d| (two-sided). The observed sample
    counts as one resample, so the p-value is never 0.
    """
    differences = np.asarray(scores, dtype=float) - np.asarray(baseline, dtype=float)
    count, observed = len(differences), abs(differences.mean())
    random = np.random.default_rng(_SEED)
    chunk = max(1, _MAX_NUMBERS // count)
    extreme = 0
    for start in range(0, resamples, chunk):
        drawn = random.integers(count, size=(min(chunk, resamples - start), count))
        means = differences[drawn].mean(axis=1)
        extreme += int((np.abs(means - differences.mean()) >= observed).sum())
    return Significance(
        p_value=(extreme + 1) / (resamples + 1), signature=f"means of sentences|bs:{resamples}|seed:{_SEED}"
    )
