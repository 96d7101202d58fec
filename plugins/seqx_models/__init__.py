"""Encoder-decoder models, decoder-only models, classifiers, input layers, and ensembles of models."""

import seqx
from seqx_models.classifier import Classifier
from seqx_models.decoder_only import DecoderOnly
from seqx_models.encoder_decoder import EncoderDecoder
from seqx_models.ensemble import AveragingEnsemble, GeneratorEnsemble
from seqx_models.input_layers import Projection, StridedConvolution

__all__ = [
    "AveragingEnsemble",
    "Classifier",
    "DecoderOnly",
    "EncoderDecoder",
    "GeneratorEnsemble",
    "Projection",
    "StridedConvolution",
]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the models, the ensembles and the input layers."""
    registry.add(seqx.Model, classifier=Classifier, decoder_only=DecoderOnly, encoder_decoder=EncoderDecoder)
    registry.add(seqx.InputLayer, convolution=StridedConvolution, projection=Projection)
    registry.add(seqx.Ensemble, ensemble=AveragingEnsemble, generators=GeneratorEnsemble)
