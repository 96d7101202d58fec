"""Marian models with random weights in the format of the Hugging Face hub."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import torch

import seqx_sample

OPUS_MT_EN_DE: dict[str, Any] = {  # config.json of Helsinki-NLP/opus-mt-en-de
    "activation_dropout": 0.0,
    "activation_function": "swish",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "architectures": ["MarianMTModel"],
    "attention_dropout": 0.0,
    "bad_words_ids": [[58100]],
    "bos_token_id": 0,
    "classif_dropout": 0.0,
    "classifier_dropout": 0.0,
    "d_model": 512,
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 2048,
    "decoder_layerdrop": 0.0,
    "decoder_layers": 6,
    "decoder_start_token_id": 58100,
    "decoder_vocab_size": 58101,
    "dropout": 0.1,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "encoder_layerdrop": 0.0,
    "encoder_layers": 6,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "gradient_checkpointing": False,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
    "init_std": 0.02,
    "is_encoder_decoder": True,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
    "max_length": 512,
    "max_position_embeddings": 512,
    "model_type": "marian",
    "normalize_before": False,
    "normalize_embedding": False,
    "num_beams": 4,
    "num_hidden_layers": 6,
    "pad_token_id": 58100,
    "scale_embedding": True,
    "share_encoder_decoder_embeddings": True,
    "static_position_embeddings": True,
    "transformers_version": "4.22.0.dev0",
    "use_cache": True,
    "vocab_size": 58101,
}
EMBEDDINGS = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
LANGUAGES = [">>fra<<", ">>deu<<"]


def write_marian(folder: Path, *, separate: bool = False, **changes: Any) -> Path:
    """Write a model with the configuration of opus-mt-en-de, but narrow, and with random weights.

    It has few positions, because transformers computes each number of them in Python.

    Args:
        folder: a new folder
        separate: give source and target separate vocabularies
        changes: other fields of config.json
    """
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    folder.mkdir()
    sizes = write_vocabularies(folder, separate=separate)
    pad = sizes[-1] - 1
    small = {
        "d_model": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_length": 30,
        "max_position_embeddings": 64,
    }
    if separate:
        small |= {"share_encoder_decoder_embeddings": False}
    fields = {
        **OPUS_MT_EN_DE,
        **small,
        "vocab_size": sizes[0],
        "decoder_vocab_size": sizes[-1],
        "pad_token_id": pad,
        "decoder_start_token_id": pad,
        "bad_words_ids": [[pad]],
        **changes,
    }
    fields["num_hidden_layers"] = fields["encoder_layers"]
    torch.manual_seed(0)
    model = MarianMTModel(MarianConfig(**fields)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                mean, std = (0.8, 0.3) if name.endswith("norm.weight") else (0.0, 0.15)
                parameter.normal_(mean, 0.1 if name in EMBEDDINGS else std)
        model.final_logits_bias.normal_(0, 0.5)
        model.get_output_embeddings().weight[0, 5] += 4  # a sine, with which EOS becomes probable
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    write_generation(folder, bad_words_ids=[[pad]])
    return folder


def write_generation(folder: Path, **changes: Any) -> None:
    """Write generation_config.json as that of opus-mt-en-de."""
    pad = json.loads((folder / "config.json").read_text(encoding="utf-8"))["pad_token_id"]
    fields = {
        "bos_token_id": 0,
        "decoder_start_token_id": pad,
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
        "max_length": 30,
        "num_beams": 4,
        "pad_token_id": pad,
        "renormalize_logits": True,
        "transformers_version": "4.32.0.dev0",
        **changes,
    }
    (folder / "generation_config.json").write_text(json.dumps(fields), encoding="utf-8")


def write_vocabularies(folder: Path, *, separate: bool) -> list[int]:
    """Write the files of a MarianTokenizer; return the sizes of its vocabularies."""
    pieces = []
    for column, name in enumerate(("source", "target")):
        trained = _sentencepiece_model(column)
        (folder / f"{name}.spm").write_bytes(trained)
        model = sentencepiece.SentencePieceProcessor(model_proto=trained)
        pieces.append([model.id_to_piece(i) for i in range(3, model.get_piece_size())])
    if not separate:
        pieces = [[*dict.fromkeys(pieces[0] + pieces[1])]]
    sizes = []
    for file, each in zip(("vocab.json", "target_vocab.json"), pieces, strict=False):
        symbols = ["</s>", "<unk>", *LANGUAGES, *each, "<pad>"]
        ids = {symbol: i for i, symbol in enumerate(symbols)}
        (folder / file).write_text(json.dumps(ids), encoding="utf-8")
        sizes.append(len(symbols))
    settings = {
        "source_lang": "en",
        "target_lang": "de",
        "separate_vocabs": separate,
        "tokenizer_class": "MarianTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return sizes


@cache
def _sentencepiece_model(column: int) -> bytes:
    rows = seqx_sample.Sample(train=400, dev=0, test=0).rows("train")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(str(row[column]) for row in rows),
        model_writer=written,
        vocab_size=170 - 20 * column,
        minloglevel=2,
    )
    return written.getvalue()
