"""Interfaces as documents show them: each method with its exact signature, taken from the class itself."""

import inspect
import re

import seqx
from seqx.plugin.hooks import Events

INTERFACES: list[type] = [
    *(seqx.PositionalEncoding, seqx.Attention, seqx.Encoder, seqx.Decoder, seqx.Model, seqx.Ensemble),
    *(seqx.Objective, seqx.Optimizer, seqx.Schedule, seqx.Search, seqx.Grammar, seqx.Callback),
    *(seqx.Normalizer, seqx.Tokenizer, seqx.Corpus, seqx.Metric, seqx.Task),
]

_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")


def described(interface: type) -> str:
    """A line for each attribute, property and method of a class; `*` marks those that must be written."""
    lines = []
    for name, value in vars(interface).items():
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        star = "* " if getattr(value, "__isabstractmethod__", False) else "  "
        if isinstance(value, property):
            assert value.fget is not None
            kind = _plain(inspect.signature(value.fget).return_annotation)
            lines.append(f"{star}{name}: {kind}  (property)")
        elif inspect.isfunction(value):
            lines.append(f"{star}{name}{_signature(value)}")
        elif name in inspect.get_annotations(interface):
            lines.append(f"  {name}: {_plain(inspect.get_annotations(interface)[name])} = {value!r}")
    if interface is seqx.Callback:
        lines += [
            f"  {name}{_signature(value)}"
            for name, value in vars(Events).items()
            if inspect.isfunction(value)
        ]
    return "\n".join(lines) + "\n"


def _signature(function: object) -> str:
    assert callable(function)
    signature = inspect.signature(function)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    return _plain(str(signature.replace(parameters=parameters)))


def _plain(annotation: object) -> str:
    text = inspect.formatannotation(annotation) if not isinstance(annotation, str) else annotation
    return _MODULE.sub("", text.replace("collections.abc.", ""))
