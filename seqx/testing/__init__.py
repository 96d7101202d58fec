"""The laws of the interfaces, as tests that a plugin runs on its own components.

    import seqx_kerple
    import seqx.testing

    test_laws = seqx.testing.laws(seqx_kerple)

A plugin that defines an interface adds its laws with `@seqx.testing.law(Interface)`. The laws need pytest.
"""

from seqx.testing import attention, decoder, encoder, model, positions, search, tasks, text, training
from seqx.testing.law import Subject, law, laws, laws_of, subjects
from seqx.testing.predictor import FixedPredictor

__all__ = ["FixedPredictor", "Subject", "law", "laws", "laws_of", "subjects"]

_MODULES_WITH_LAWS = (attention, decoder, encoder, model, positions, search, tasks, text, training)
