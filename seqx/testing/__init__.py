"""The laws of the interfaces, as tests that a plugin runs on itself.

    import seqx_kerple
    import seqx.testing

    test_laws = seqx.testing.laws(seqx_kerple)

A plugin that opens a kind adds laws for it with `@seqx.testing.law(Kind)`. Needs pytest.
"""

from seqx.testing import attention, decoder, encoder, finding, learning, model, positions, tasks, text
from seqx.testing.known import Known
from seqx.testing.law import Subject, law, laws, laws_of, subjects

__all__ = ["Known", "Subject", "law", "laws", "laws_of", "subjects"]

_HOLD_LAWS = (attention, decoder, encoder, finding, learning, model, positions, tasks, text)
