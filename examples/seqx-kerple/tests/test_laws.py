"""The laws of each interface for all components of the plugin."""

import seqx.testing

import seqx_kerple

test_laws = seqx.testing.laws(seqx_kerple)
