"""Hugging Face transformers: MarianMT and its ``generate``."""

import torch
import transformers
from transformers import MarianConfig, MarianMTModel

from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.peers.fairseq_names import fairseq_weights
from benchmarks.prepared import Prepared, check_hypotheses, repeat
from hat.special_ids import EOS_ID, PAD_ID


@torch.inference_mode()
def decoding(case: Case, variant: str, threads: int) -> Prepared:
    """``generate`` until 30 words, where hat takes 29 and the end symbol: as many steps."""
    net, batch, shape = inputs.network(case), inputs.pairs(case), case.shape
    config = MarianConfig(
        vocab_size=shape.vocabulary, d_model=shape.width, scale_embedding=True, activation_function="relu",
        encoder_layers=shape.encoder_layers, encoder_attention_heads=shape.heads, encoder_ffn_dim=shape.ffn,
        decoder_layers=shape.decoder_layers, decoder_attention_heads=shape.heads, decoder_ffn_dim=shape.ffn,
        max_position_embeddings=512, pad_token_id=PAD_ID, eos_token_id=EOS_ID, decoder_start_token_id=EOS_ID,
        forced_eos_token_id=None,
    )  # fmt: skip
    model = MarianMTModel(config).eval()
    weights = {f"model.{name}": weight for name, weight in fairseq_weights(net).items()}
    for side, table in (("encoder", net.encoder_positions.table), ("decoder", net.decoder_positions.table)):
        weights[f"model.{side}.embed_positions.weight"] = table[:512]
    weights["model.shared.weight"] = weights["lm_head.weight"] = weights["model.encoder.embed_tokens.weight"]
    weights["final_logits_bias"] = torch.zeros(1, shape.vocabulary)
    model.load_state_dict(weights)
    scores = model(input_ids=batch.source, decoder_input_ids=batch.target_in).logits.log_softmax(-1)
    own = scores.gather(2, batch.target_out[:, :, None])[:, :, 0]
    options = {"num_beams": case.beam, "do_sample": False, "min_new_tokens": case.length, "max_new_tokens": case.length}

    @torch.inference_mode()
    def call(turn: int) -> torch.Tensor:
        return model.generate(batch.source, **options)

    check_hypotheses([call(0).size(1) - 1], case.length)
    return Prepared(
        repeat(call),
        case.sentences * case.length,
        "target tokens",
        transformers.__version__,
        parameters=sum(one.numel() for name, one in model.named_parameters() if "embed_positions" not in name),
        difference=float((own - inputs.log_probabilities(net, batch)).abs().max()),
    )
