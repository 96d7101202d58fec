"""The importer of Marian models."""

from pathlib import Path

import seqx
from seqx_transformer.marian.config import read_config, recipe
from seqx_transformer.marian.vocabulary import read_vocabularies, write_tokenizers
from seqx_transformer.marian.weights import Weights, read_tensors


class FromHuggingFace(seqx.Importer):
    """A Marian model of Hugging Face's transformers, such as OPUS-MT.

    The folder has `config.json`, `model.safetensors`, `vocab.json`, `source.spm`, `target.spm` and, if the
    model has them, `target_vocab.json` and `generation_config.json`. The imported model has the same logits,
    tokens and search as in transformers.

    Args:
        pickle: read `pytorch_model.bin` with torch's restricted loader if there is no `model.safetensors`
    """

    def __init__(self, *, pickle: bool = False) -> None:
        self.pickle = pickle

    def read(self, source: Path, vocabulary: Path) -> seqx.ImportedModel:
        """Read a model, and write the files of its tokenizers into `vocabulary`.

        Raises:
            UserError: a file is missing or damaged, or seqx cannot express a field of a configuration
        """
        if not source.is_dir():
            raise seqx.UserError(f"{source}: is not a folder; name the folder with the files of the model")
        config, generation = read_config(source)
        vocabularies = read_vocabularies(source, config, generation)
        write_tokenizers(source, vocabulary, vocabularies)
        tensors, file = read_tensors(source, pickled=self.pickle)
        weights = dict(Weights(tensors, file, config).model(*vocabularies))
        sizes = [len(side.symbols) for side in vocabularies]
        return seqx.ImportedModel(recipe=recipe(config, generation, *sizes), weights=weights)
