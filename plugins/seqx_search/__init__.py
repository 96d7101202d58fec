"""Searches: greedy, beam and sampling; and score processors."""

import seqx
from seqx_search.beam import Beam
from seqx_search.diverse_beam import DiverseBeam
from seqx_search.greedy import Greedy
from seqx_search.normalized_beam import NormalizedBeam
from seqx_search.processors import MinLength, NoRepeatNgram, RepetitionPenalty
from seqx_search.sampling import Sampling

__all__ = [
    "Beam",
    "DiverseBeam",
    "Greedy",
    "MinLength",
    "NoRepeatNgram",
    "NormalizedBeam",
    "RepetitionPenalty",
    "Sampling",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the searches and the score processors."""
    registry.add(
        seqx.Search,
        beam=Beam,
        diverse_beam=DiverseBeam,
        greedy=Greedy,
        normalized_beam=NormalizedBeam,
        sampling=Sampling,
    )
    registry.add(
        seqx.ScoreProcessor,
        min_length=MinLength,
        no_repeat_ngram=NoRepeatNgram,
        repetition_penalty=RepetitionPenalty,
    )
