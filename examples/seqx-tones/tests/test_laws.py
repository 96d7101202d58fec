"""The laws of each interface for all components of the plugin."""

import seqx.testing

import seqx_tones

SMALL = {"train": 8, "dev": 4, "test": 4}

test_laws = seqx.testing.laws(
    seqx_tones,
    settings={
        seqx_tones.Melodies: SMALL,
        seqx_tones.Tones: {
            "corpus": seqx_tones.Melodies(**SMALL),
            "metrics": [seqx_tones.NoteErrorRate()],
        },
    },
)
