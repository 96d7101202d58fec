"""Tasks on text: language modelling, text to text, and classification."""

import seqx
from seqx_text_tasks.classification import Classification
from seqx_text_tasks.labels import Labels
from seqx_text_tasks.language_model import LanguageModel
from seqx_text_tasks.text_to_text import TextToText

__all__ = ["Classification", "Labels", "LanguageModel", "TextToText"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the tasks, and the vocabulary of labels."""
    registry.add(
        seqx.Task, classification=Classification, language_model=LanguageModel, text_to_text=TextToText
    )
    registry.add(seqx.Tokenizer, labels=Labels)
