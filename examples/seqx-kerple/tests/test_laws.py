"""The laws of each interface, tried on whatever the plugin offers."""

import seqx.testing

import seqx_kerple

test_laws = seqx.testing.laws(seqx_kerple)
