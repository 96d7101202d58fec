"""The laws of each interface for all components of the plugin."""

import seqx.testing

import seqx_local_sgd

test_laws = seqx.testing.laws(seqx_local_sgd, settings={seqx_local_sgd.LocalSGD: {"every": 2}})
