"""Check that the kernel obeys the laws of kernels."""

import seqx.testing
import seqx_newcomer
from seqx_transformer import testing

assert testing  # the import registers the laws

test_laws = seqx.testing.laws(seqx_newcomer)
