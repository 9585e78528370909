"""JoeyNMT: its Transformer and its loss."""

from importlib.metadata import version
from types import SimpleNamespace

import torch
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary

from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.prepared import Prepared, repeat


def training(case: Case, variant: str, threads: int) -> Prepared:
    """Forward, loss, backward and Adam, as its training does for one batch."""
    if variant == "medium":
        torch.set_float32_matmul_precision("medium")
    shape, batch = case.shape, inputs.pairs(case)
    symbols = SimpleNamespace(
        unk_token="<unk>", unk_id=0, pad_token="<pad>", pad_id=1, bos_token="<s>", bos_id=2, eos_token="</s>", eos_id=3,
        sep_token=None, sep_id=None, lang_tags=[],
    )  # fmt: skip
    words = Vocabulary([f"w{index}" for index in range(shape.vocabulary - 4)], symbols)

    def stack(layers: int) -> dict[str, object]:
        embeddings = {"embedding_dim": shape.width, "scale": True, "dropout": inputs.DROPOUT}
        sizes = {"hidden_size": shape.width, "ff_size": shape.ffn, "num_layers": layers, "num_heads": shape.heads}
        return {
            "type": "transformer",
            **sizes,
            "dropout": inputs.DROPOUT,
            "layer_norm": "post",
            "embeddings": embeddings,
        }

    stacks = {"encoder": stack(shape.encoder_layers), "decoder": stack(shape.decoder_layers)}
    model = build_model({**stacks, "tied_embeddings": True, "tied_softmax": True}, words, words).train()
    model.loss_function = ("crossentropy", inputs.SMOOTHING)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98))
    present = torch.ones(batch.num_sentences, 1, case.length, dtype=torch.bool)

    def step(turn: int) -> None:
        optimizer.zero_grad()
        loss, *_ = model(
            return_type="loss", src=batch.source, trg_input=batch.target_in, trg=batch.target_out, src_mask=present,
            src_length=torch.full((batch.num_sentences,), case.length), trg_mask=present,
        )  # fmt: skip
        (loss.sum() / batch.num_target_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
        optimizer.step()
        loss.sum().item()

    tokens = batch.source.numel() + batch.target_out.numel()
    parameters = sum(one.numel() for one in model.parameters())
    note = "also counts the right tokens, as it always does"
    return Prepared(
        repeat(step), tokens, "source and target tokens", version("joeynmt"), parameters=parameters, note=note
    )
