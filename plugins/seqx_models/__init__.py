"""Encoder-decoder models, decoder-only models, classifiers, and ensembles of models."""

import seqx
from seqx_models.classifier import Classifier
from seqx_models.decoder_only import DecoderOnly
from seqx_models.encoder_decoder import EncoderDecoder
from seqx_models.ensemble import AveragingEnsemble

__all__ = ["AveragingEnsemble", "Classifier", "DecoderOnly", "EncoderDecoder"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the models and the ensemble."""
    registry.add(seqx.Model, classifier=Classifier, decoder_only=DecoderOnly, encoder_decoder=EncoderDecoder)
    registry.add(seqx.Ensemble, ensemble=AveragingEnsemble)
