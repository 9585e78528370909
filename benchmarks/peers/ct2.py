"""CTranslate2: hat's weights in its own format, made through its converter's specification."""

import tempfile
from typing import Any

import ctranslate2
import numpy as np
import torch
from ctranslate2.specs import Activation, TransformerSpec
from torch import Tensor

from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.prepared import Prepared, check_hypotheses, repeat
from hat import Transformer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # in the order of hat's ids


def decoding(case: Case, variant: str, threads: int) -> Prepared:
    """Its translator; it searches until 30 words, where hat takes 29 and the end symbol: as many steps."""
    net, batch = inputs.network(case), inputs.pairs(case)
    dtype = variant.split()[0]
    words = SPECIAL + [f"w{index}" for index in range(case.shape.vocabulary - len(SPECIAL))]
    with tempfile.TemporaryDirectory() as folder:
        _specification(net, case, words, dtype).save(folder)
        translator = ctranslate2.Translator(folder, compute_type=dtype, inter_threads=1, intra_threads=threads)
    source, target = (
        [[words[token] for token in row] for row in rows.tolist()] for rows in (batch.source, batch.target_out)
    )
    scored = translator.score_batch(source, [row[:-1] for row in target])
    difference = torch.tensor([one.log_probs for one in scored]) - inputs.log_probabilities(net, batch)
    options = {"beam_size": case.beam, "min_decoding_length": case.length, "max_decoding_length": case.length}
    found = translator.translate_batch(source, **options, num_hypotheses=case.beam)
    check_hypotheses([len(one) for sentence in found for one in sentence.hypotheses], case.length)
    return Prepared(
        repeat(lambda turn: translator.translate_batch(source, **options)),
        case.sentences * case.length,
        "target tokens",
        ctranslate2.__version__,
        parameters=sum(weight.numel() for weight in net.weights().values()),
        difference=float(difference.abs().max()),
    )


def _specification(net: Transformer, case: Case, words: list[str], dtype: str) -> TransformerSpec:
    """The model with the weights of ``net``."""
    depths = case.shape.encoder_layers, case.shape.decoder_layers
    spec = TransformerSpec.from_config(depths, case.shape.heads, pre_norm=False, activation=Activation.RELU)
    # Copies: quantisation changes them in place.
    weights = {name: weight.numpy().copy() for name, weight in net.weights().items()}
    embedding = weights["source_embedding.weight"]
    for place in (spec.encoder.embeddings[0], spec.decoder.embeddings, spec.decoder.projection):
        place.weight = embedding
    spec.decoder.projection.bias = np.zeros(len(words), dtype=np.float32)
    spec.encoder.position_encodings.encodings = _table(net.encoder_positions.table)
    spec.decoder.position_encodings.encodings = _table(net.decoder_positions.table)

    def linear(target: Any, name: str) -> None:
        target.weight, target.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    for side, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        for index, layer in enumerate(stack.layer):
            name = f"{side}.layers.{index}"
            linear(layer.self_attention.linear[0], f"{name}.self_attn.qkv_proj")
            linear(layer.self_attention.linear[1], f"{name}.self_attn.out_proj")
            norm(layer.self_attention.layer_norm, f"{name}.self_attn_norm")
            if side == "decoder":
                for number, part in enumerate(("q_proj", "kv_proj", "out_proj")):
                    linear(layer.attention.linear[number], f"{name}.cross_attn.{part}")
                norm(layer.attention.layer_norm, f"{name}.cross_attn_norm")
            linear(layer.ffn.linear_0, f"{name}.ffn.fc1")
            linear(layer.ffn.linear_1, f"{name}.ffn.fc2")
            norm(layer.ffn.layer_norm, f"{name}.ffn_norm")
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<s>", "</s>", "<unk>"
    spec.config.decoder_start_token = "</s>"
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.validate()
    spec.optimize(quantization=dtype if dtype == "int8" else None)
    return spec


def _table(positions: Tensor) -> Any:
    return positions.numpy().copy()
