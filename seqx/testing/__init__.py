"""The laws of the interfaces, as tests that a plugin runs on its own components.

    import seqx_kerple
    import seqx.testing

    test_laws = seqx.testing.laws(seqx_kerple)

`seqx check FILE.py` checks them for the components of a file.

`check_export`, `check_engine` and `check_import` need a model that can be converted, so a test of a plugin
calls them.

A plugin that defines an interface adds its laws with `@seqx.testing.law(Interface)`. `laws` needs
pytest.
"""

from seqx.testing import (
    attention,
    attention_positions,
    decoder,
    encoder,
    exchange,
    grammar,
    input_layer,
    model,
    parallel,
    positions,
    processors,
    search,
    slots,
    tasks,
    text,
    training,
)
from seqx.testing.exchange_checks import check_engine, check_export, check_import
from seqx.testing.grammar import check_grammar
from seqx.testing.law import Subject, law, laws, laws_of, subjects
from seqx.testing.predictor import FixedPredictor

__all__ = [
    "FixedPredictor",
    "Subject",
    "check_engine",
    "check_export",
    "check_grammar",
    "check_import",
    "law",
    "laws",
    "laws_of",
    "subjects",
]

_MODULES_WITH_LAWS = (
    *(attention, attention_positions, decoder, encoder, exchange, input_layer),
    *(model, parallel, positions, grammar, processors, search, slots, tasks, text, training),
)
