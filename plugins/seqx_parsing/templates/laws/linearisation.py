"""Check that the linearisation obeys the laws of linearisations."""

import seqx.testing
import seqx_newcomer
from seqx_parsing import testing

assert testing  # the import registers the laws

test_laws = seqx.testing.laws(seqx_newcomer)
