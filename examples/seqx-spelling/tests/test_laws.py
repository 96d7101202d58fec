"""The laws of each interface for all components of the plugin."""

import seqx.testing
import seqx_sample

import seqx_spelling

WORDS = seqx_spelling.Misspelt(text=seqx_sample.Sample(train=50, dev=5, test=5), copies=2)

test_laws = seqx.testing.laws(
    seqx_spelling,
    settings={
        seqx_spelling.Misspelt: {"text": seqx_sample.Sample(train=50, dev=5, test=5)},
        seqx_spelling.Spelling: {
            "corpus": WORDS,
            "tokenizer": seqx_spelling.Characters(),
            "metrics": [seqx_spelling.WordAccuracy()],
        },
    },
)
