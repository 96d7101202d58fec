"""Test the laws of their interfaces on all components of the plugin."""

import seqx.testing

import seqx_newcomer

test_laws = seqx.testing.laws(seqx_newcomer)
