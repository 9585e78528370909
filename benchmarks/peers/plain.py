"""A Transformer in plain PyTorch that does the work of the authors' program.

Weights are sliced at every use, caches grow by concatenation and all of them are copied when hypotheses are reordered,
every hypothesis projects the source for itself, all logits and their log-softmax are written out, and Adam is torch's
default.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.prepared import Prepared, check_hypotheses, repeat
from hat import Architecture
from hat.data.batch import Batch
from hat.nn import SuperTransformer, Transformer
from hat.special_ids import EOS_ID, PAD_ID

Cache = dict[str, Tensor]
"""Keys and values of one decoder layer's self- and cross-attention, each (rows, heads, entries, head width)."""


@dataclass
class Plain:
    """The network as functions of named weights; their names, sizes and meaning are hat's."""

    weights: Mapping[str, Tensor]
    positions: tuple[Tensor, Tensor]
    """Signals of encoder and decoder, (longest, width)."""
    maximum: tuple[int, int]
    """Widths of the SuperTransformer's encoder and decoder."""
    dropout: float = 0.0

    @classmethod
    def of(cls, net: Transformer | SuperTransformer, dropout: float = 0.0) -> "Plain":
        """The same network as ``net``, with a copy of its weights."""
        weights = {name: weight.clone().requires_grad_() for name, weight in net.weights().items()}
        tables = net.encoder_positions.table, net.decoder_positions.table
        return cls(weights, tables, (net.maximum.encoder, net.maximum.decoder), dropout)

    def encode(self, source: Tensor, active: Architecture) -> tuple[list[Tensor], Tensor]:
        """Outputs of all layers, each (B, S, E), and what is padding, (B, S)."""
        x = self._embed("source", source, active.encoder.embed_dim, self.positions[0], 0)
        drop = self.dropout * active.encoder.embed_dim / self.maximum[0]
        x, hidden, outputs = functional.dropout(x, drop), source.eq(PAD_ID), []
        for index, layer in enumerate(active.encoder.layers):
            name = f"encoder.layers.{index}"
            y = self._self_attention(
                f"{name}.self_attn", x, active.qkv_dim, layer.self_attn_heads, hidden[:, None, None]
            )
            x = self._norm(f"{name}.self_attn_norm", x + functional.dropout(y, drop))
            x = self._ffn(name, x, layer.ffn_dim, drop)
            outputs.append(x)
        return outputs, hidden

    def decode(
        self,
        tokens: Tensor,
        encoded: list[Tensor],
        padding: Tensor,
        active: Architecture,
        caches: list[Cache] | None = None,
    ) -> Tensor:
        """Logits (B, T, V) after target tokens (B, T): all of them, or with ``caches`` the next one."""
        before = caches[0]["keys"].size(2) if caches and caches[0] else 0
        x = self._embed("target", tokens, active.decoder.embed_dim, self.positions[1], before)
        drop = self.dropout * active.decoder.embed_dim / self.maximum[1]
        x = functional.dropout(x, drop)
        future = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1) if caches is None else None
        for index, layer in enumerate(active.decoder.layers):
            name, cache = f"decoder.layers.{index}", None if caches is None else caches[index]
            y = self._self_attention(f"{name}.self_attn", x, active.qkv_dim, layer.self_attn_heads, future, cache)
            x = self._norm(f"{name}.self_attn_norm", x + functional.dropout(y, drop))
            attended = encoded[-layer.attended_encoder_layers :][::-1]
            y = self._cross_attention(
                f"{name}.cross_attn", x, attended, padding, active.qkv_dim, layer.cross_attn_heads, cache
            )
            x = self._norm(f"{name}.cross_attn_norm", x + functional.dropout(y, drop))
            x = self._ffn(name, x, layer.ffn_dim, drop)
        return functional.linear(x, self._embedding("output")[:, : x.size(-1)])

    def _embedding(self, side: str) -> Tensor:
        """The matrix of a side: its own, or the one it shares."""
        shared = {"source": ("source",), "target": ("target", "source"), "output": ("output", "target", "source")}
        names = (f"{name}_embedding.weight" for name in shared[side])
        return next(self.weights[name] for name in names if name in self.weights)

    def _embed(self, side: str, tokens: Tensor, width: int, positions: Tensor, start: int) -> Tensor:
        x = functional.embedding(tokens, self._embedding(side)[:, :width], PAD_ID) * math.sqrt(width)
        return x + positions[start : start + tokens.size(1), :width]

    def _linear(self, name: str, x: Tensor, out: int) -> Tensor:
        return functional.linear(
            x, self.weights[f"{name}.weight"][:out, : x.size(-1)], self.weights[f"{name}.bias"][:out]
        )

    def _norm(self, name: str, x: Tensor) -> Tensor:
        width = x.size(-1)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, (width,), weight[:width], bias[:width])

    def _ffn(self, name: str, x: Tensor, width: int, drop: float) -> Tensor:
        hidden = functional.relu(self._linear(f"{name}.ffn.fc1", x, width))
        y = self._linear(f"{name}.ffn.fc2", hidden, x.size(-1))
        return self._norm(f"{name}.ffn_norm", x + functional.dropout(y, drop))

    def _self_attention(
        self, name: str, x: Tensor, qkv: int, heads: int, hidden: Tensor | None, cache: Cache | None = None
    ) -> Tensor:
        query, keys, values = (
            _split(part, heads) for part in self._linear(f"{name}.qkv_proj", x, 3 * qkv).chunk(3, -1)
        )
        if cache is not None:
            if "keys" in cache:
                keys, values = torch.cat([cache["keys"], keys], 2), torch.cat([cache["values"], values], 2)
            cache.update(keys=keys, values=values)
        return self._linear(f"{name}.out_proj", _attend(query, keys, values, hidden), x.size(-1))

    def _cross_attention(
        self, name: str, x: Tensor, attended: list[Tensor], padding: Tensor, qkv: int, heads: int, cache: Cache | None
    ) -> Tensor:
        query = _split(self._linear(f"{name}.q_proj", x, qkv), heads)
        if cache is not None and "source keys" in cache:
            keys, values = cache["source keys"], cache["source values"]
        else:
            projected = self._linear(f"{name}.kv_proj", torch.cat(attended, 1), 2 * qkv)
            keys, values = (_split(part, heads) for part in projected.chunk(2, -1))
            if cache is not None:
                cache.update({"source keys": keys, "source values": values})
        hidden = padding.repeat(1, len(attended))[:, None, None]
        return self._linear(f"{name}.out_proj", _attend(query, keys, values, hidden), x.size(-1))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _attend(query: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> Tensor:
    scores = (query * query.size(-1) ** -0.5) @ keys.transpose(2, 3)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    return (scores.float().softmax(-1).to(values.dtype) @ values).transpose(1, 2).flatten(2)


@torch.no_grad()
def translate(net: Plain, source: Tensor, active: Architecture, beam: int, steps: int) -> Tensor:
    """Beam search of ``steps`` steps, the end symbol forbidden before the last: (B, beam, steps), best first."""
    batch, vocab = source.size(0), net._embedding("output").size(0)
    encoded, padding = net.encode(source, active)
    rows = torch.arange(batch).repeat_interleave(beam)
    encoded, padding = [layer[rows] for layer in encoded], padding[rows]
    tokens = torch.full((batch * beam, 1), EOS_ID)
    scores = torch.zeros(batch, beam, 1)
    caches: list[Cache] = [{} for _ in active.decoder.layers]
    for step in range(steps):
        log_probs = net.decode(tokens[:, -1:], encoded, padding, active, caches)[:, -1].float().log_softmax(-1)
        log_probs[:, PAD_ID] = -math.inf
        if step < steps - 1:
            log_probs[:, EOS_ID] = -math.inf
        else:
            log_probs[:, :EOS_ID] = log_probs[:, EOS_ID + 1 :] = -math.inf
        total = scores + log_probs.view(batch, beam, vocab)
        # At first all hypotheses of a sentence are the same one.
        found = (total[:, :1] if step == 0 else total).flatten(1).topk(2 * beam)
        scores, chosen = found.values[:, :beam, None], found.indices[:, :beam]
        parents = (torch.arange(batch)[:, None] * beam + chosen // vocab).flatten()
        tokens = torch.cat([tokens[parents], (chosen % vocab).view(-1, 1)], 1)
        encoded, padding = [layer[parents] for layer in encoded], padding[parents]
        caches = [{name: kept[parents] for name, kept in cache.items()} for cache in caches]
    return tokens[:, 1:].view(batch, beam, steps)


def label_smoothed(logits: Tensor, target: Tensor) -> Tensor:
    """The summed loss, from all log-probabilities written out."""
    log_probs = logits.float().log_softmax(-1)
    nll = -log_probs.gather(2, target[:, :, None])[:, :, 0]
    loss = (1 - inputs.SMOOTHING) * nll - inputs.SMOOTHING * log_probs.mean(-1)
    return loss.masked_fill(target.eq(PAD_ID), 0.0).sum()


def decoding(case: Case, variant: str, threads: int) -> Prepared:
    """The beam search above."""
    model, active = inputs.network(case), case.shape.architecture()
    net, batch = Plain.of(model), inputs.pairs(case)
    found = translate(net, batch.source, active, case.beam, case.length)
    check_hypotheses([found.size(2)], case.length)
    with torch.no_grad():
        log_probs = net.decode(batch.target_in, *net.encode(batch.source, active), active).log_softmax(-1)
    own = log_probs.gather(2, batch.target_out[:, :, None])[:, :, 0]
    return Prepared(
        repeat(lambda turn: translate(net, batch.source, active, case.beam, case.length)),
        case.sentences * case.length,
        "target tokens",
        torch.__version__,
        parameters=sum(weight.numel() for weight in net.weights.values()),
        difference=float((own - inputs.log_probabilities(model, batch)).abs().max()),
    )


def training(case: Case, variant: str, threads: int) -> Prepared:
    """Forward, loss, backward and Adam."""
    of_super = case.network != "plain"
    if variant == "medium":
        torch.set_float32_matmul_precision("medium")
    net = Plain.of((inputs.super_network if of_super else inputs.network)(case), inputs.DROPOUT)
    batch = inputs.pairs(case)
    optimizer = torch.optim.Adam(net.weights.values(), lr=1e-4, betas=(0.9, 0.98))

    def step(turn: int) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bfloat16"):
            loss = loss_of(net, batch, inputs.architecture_of(case, turn))
        (loss / batch.num_target_tokens).backward()
        torch.nn.utils.clip_grad_norm_(net.weights.values(), math.inf)
        optimizer.step()
        loss.item()

    tokens = batch.source.numel() + batch.target_out.numel()
    parameters = sum(weight.numel() for weight in net.weights.values())
    return Prepared(repeat(step), tokens, "source and target tokens", torch.__version__, parameters=parameters)


def loss_of(net: Plain, batch: Batch, active: Architecture) -> Tensor:
    """Summed label-smoothed loss of a batch."""
    return label_smoothed(net.decode(batch.target_in, *net.encode(batch.source, active), active), batch.target_out)


def scoring(case: Case, variant: str, threads: int) -> Prepared:
    """Validation of one candidate on batches of sentences that are sorted by length."""
    net = Plain.of(inputs.super_network(case))
    made = batches(list(zip(*inputs.validation_sentences(case), strict=True)), 4096)

    @torch.no_grad()
    def score(turn: int) -> float:
        active = inputs.architecture_of(case, turn)
        return sum(loss_of(net, batch, active).item() for batch in made)

    parameters = sum(weight.numel() for weight in net.weights.values())
    return Prepared(repeat(score), case.sentences, "sentences", torch.__version__, parameters=parameters)


def batches(sentences: list[tuple[list[int], list[int]]], max_tokens: int) -> list[Batch]:
    """Padded batches of neighbours in length, sentences times the longest side at most ``max_tokens``."""
    made, group = [], []
    for pair in sorted(sentences, key=lambda pair: (len(pair[1]), len(pair[0]))):
        if group and (len(group) + 1) * max(len(side) for one in [*group, pair] for side in one) > max_tokens:
            made.append(_collate(group))
            group = []
        group.append(pair)
    return [*made, _collate(group)]


def _collate(group: list[tuple[list[int], list[int]]]) -> Batch:
    def padded(rows: list[list[int]]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, PAD_ID)

    target_in = padded([[EOS_ID, *target[:-1]] for _, target in group])
    target = padded([target for _, target in group])
    return Batch(padded([source for source, _ in group]), target_in, target, int(target.ne(PAD_ID).sum()))
