"""The laws of each interface for all components of the plugin; they need an optimizer for all parameters."""

import seqx.testing

import seqx_lora

test_laws = seqx.testing.laws(seqx_lora, settings={seqx_lora.LoRA: {"targets": ("*",), "rank": 2}})
