"""Check that each component of the plugin obeys the laws of its interface."""

import seqx.testing
import seqx_newcomer

test_laws = seqx.testing.laws(seqx_newcomer)
