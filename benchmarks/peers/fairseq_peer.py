"""fairseq: its Transformer, its SequenceGenerator, its criterion and its Adam."""

from argparse import Namespace

import fairseq
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.optim.adam import Adam
from fairseq.sequence_generator import SequenceGenerator

from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.peers.fairseq_names import fairseq_weights
from benchmarks.prepared import Prepared, check_hypotheses, repeat
from hat.data.batch import Batch


def decoding(case: Case, variant: str, threads: int) -> Prepared:
    """What its ``fairseq-generate`` calls for each batch."""
    net, batch = inputs.network(case), inputs.pairs(case)
    task = _task(case)
    model = _model(case, task, 0.0)
    model.make_generation_fast_()
    last = case.length - 1
    sizes = {"beam_size": case.beam, "max_len_a": 0, "max_len_b": last, "min_len": last}
    generator = SequenceGenerator([model], task.target_dictionary, **sizes)
    sample = _sample(batch)

    @torch.no_grad()
    def call(turn: int) -> list[list[dict[str, torch.Tensor]]]:
        return generator.generate([model], sample)

    check_hypotheses([len(one["tokens"]) for sentence in call(0) for one in sentence], case.length)
    with torch.no_grad():
        scores = model.get_normalized_probs(model(**sample["net_input"]), log_probs=True)
    own = scores.gather(2, batch.target_out[:, :, None])[:, :, 0]
    return Prepared(
        repeat(call),
        case.sentences * case.length,
        "target tokens",
        fairseq.__version__,
        parameters=_parameters(model),
        difference=float((own - inputs.log_probabilities(net, batch)).abs().max()),
    )


def training(case: Case, variant: str, threads: int) -> Prepared:
    """Forward, criterion, backward and Adam, as its trainer does for one batch."""
    if variant == "medium":
        torch.set_float32_matmul_precision("medium")
    task, batch = _task(case), inputs.pairs(case)
    model, sample = _model(case, task, inputs.DROPOUT).train(), _sample(batch)
    criterion = LabelSmoothedCrossEntropyCriterion(task, False, inputs.SMOOTHING)
    optimizer = Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98))

    def step(turn: int) -> None:
        optimizer.zero_grad()
        loss, size, logged = criterion(model, sample)
        loss.backward()
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(size)
        torch.nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
        optimizer.step()
        float(logged["loss"])

    tokens = batch.source.numel() + batch.target_out.numel()
    return Prepared(
        repeat(step), tokens, "source and target tokens", fairseq.__version__, parameters=_parameters(model)
    )


def _task(case: Case) -> Namespace:
    words = Dictionary()  # begins with the four symbols of hat's first ids
    for index in range(case.shape.vocabulary - len(words)):
        words.add_symbol(f"w{index}")
    return Namespace(source_dictionary=words, target_dictionary=words)


def _model(case: Case, task: Namespace, dropout: float) -> TransformerModel:
    shape = case.shape
    args = Namespace(
        share_all_embeddings=True, dropout=dropout, encoder_embed_dim=shape.width, encoder_ffn_embed_dim=shape.ffn,
        encoder_layers=shape.encoder_layers, encoder_attention_heads=shape.heads, decoder_layers=shape.decoder_layers,
        decoder_attention_heads=shape.heads,
    )  # fmt: skip
    base_architecture(args)
    model = TransformerModel.build_model(args, task).eval()
    weights = fairseq_weights(inputs.network(case))
    weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert all("version" in name or "_float_tensor" in name for name in missing), missing
    return model


def _sample(batch: Batch) -> dict[str, object]:
    lengths = torch.full((batch.num_sentences,), batch.source.size(1))
    given = {"src_tokens": batch.source, "src_lengths": lengths, "prev_output_tokens": batch.target_in}
    return {
        "id": torch.arange(batch.num_sentences),
        "net_input": given,
        "target": batch.target_out,
        "ntokens": batch.num_target_tokens,
    }


def _parameters(model: TransformerModel) -> int:
    """Without the second copy that its encoder layers keep for torch's fused layer, under names such as fc1_weight."""
    return sum(one.numel() for name, one in model.named_parameters() if name.endswith((".weight", ".bias")))
