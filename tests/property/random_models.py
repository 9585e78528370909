"""Random SuperTransformers for property tests, and a slow implementation of the model to compare them with."""

import math
import random

import torch
from random_spaces import random_space
from torch import Tensor

from hat.nn import SuperTransformer, Transformer
from hat.space import Architecture, SearchSpace
from hat.special_ids import BOS_ID, EOS_ID, PAD_ID

VOCABULARY = 13


def random_model(seed: int, dropout: float = 0.0) -> tuple[SuperTransformer, random.Random]:
    """A SuperTransformer in evaluation mode with random options and sizes, and the source of more randomness."""
    rng = random.Random(seed)
    space = random_space(rng, max_depth=3)
    if rng.random() < 0.5:
        space = _with_maximum(space, rng)
    share = rng.choice(["all", "decoder", "none"])
    generator = torch.Generator().manual_seed(seed)
    model = SuperTransformer(
        space,
        source_vocab_size=VOCABULARY if share == "all" else VOCABULARY + 4,
        target_vocab_size=VOCABULARY,
        share_embeddings=share,
        pre_norm=rng.random() < 0.5,
        embed_scale=rng.choice(["active", "maximum"]),
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
    )
    randomize(model, generator)
    return model.eval(), rng


def _with_maximum(space: SearchSpace, rng: random.Random) -> SearchSpace:
    """The space in a SuperTransformer that is larger than its choices in some of its sizes."""
    sizes = space.super_architecture()
    maximum = {}
    for stack in (sizes.encoder, sizes.decoder):
        grown = {
            "embed_dim": stack.embed_dim + rng.randint(1, 9),
            "num_layers": len(stack.layers) + 1,
            "ffn_dim": max(layer.ffn_dim for layer in stack.layers) + rng.randint(1, 9),
        }
        name = "encoder" if stack is sizes.encoder else "decoder"
        maximum[name] = {key: value for key, value in grown.items() if rng.random() < 0.6}
    return SearchSpace.model_validate({**space.model_dump(), "maximum": maximum})


@torch.no_grad()
def randomize(model: SuperTransformer | Transformer, generator: torch.Generator) -> None:
    """Draw all that starts at zero or one anew: fresh biases and LayerNorms would hide that they are left out."""
    model.reset_parameters(generator)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            centre = 1.0 if "norm.weight" in name else 0.0
            parameter.normal_(centre, 0.3, generator=generator)
        elif name.endswith("embedding.weight"):
            # The padding row too, which training leaves at zero: nothing may depend on it.
            parameter.normal_(0.0, 0.5, generator=generator)


def random_batch(rng: random.Random, model: SuperTransformer | Transformer, size: int = 3) -> tuple[Tensor, Tensor]:
    """Source and shifted target of random lengths, padded on the right."""
    sources, targets = [], []
    for _ in range(size):
        words = [rng.randrange(3, model.source_vocab_size) for _ in range(rng.randint(0, 6))]
        sources.append(torch.tensor([*words, EOS_ID]))
        words = [rng.choice([BOS_ID, *range(3, model.target_vocab_size)]) for _ in range(rng.randint(0, 6))]
        targets.append(torch.tensor([EOS_ID, *words]))
    return padded(sources), padded(targets)


def padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD_ID)


class SlowModel:
    """The SubTransformer ``architecture`` computed sentence by sentence, head by head, from the formulas.

    Takes the leading blocks of the SuperTransformer's weights itself and shares no code with the model. Float64.
    """

    def __init__(self, model: SuperTransformer, architecture: Architecture) -> None:
        self.weights = {name: weight.double() for name, weight in model.weights().items()}
        self.architecture = architecture
        self.options = model.options
        self.maximum = {
            "encoder": model.space.super_architecture().encoder.embed_dim,
            "decoder": model.space.super_architecture().decoder.embed_dim,
        }

    def logits(self, source: list[int], target_in: list[int]) -> Tensor:
        """Logits (T, V) of one sentence pair without padding."""
        outputs = [self.embed("encoder", source)]
        for index, layer in enumerate(self.architecture.encoder.layers):
            x, name = outputs[-1], f"encoder.layers.{index}"
            x = self.block(
                x, f"{name}.self_attn", lambda y, n=name, la=layer: self.self_attention(y, n, la, causal=False)
            )
            outputs.append(self.block(x, f"{name}.ffn", lambda y, n=name, la=layer: self.feed_forward(y, n, la)))
        if self.options.pre_norm:
            outputs[-1] = self.norm(outputs[-1], "encoder.final_norm")

        x = self.embed("decoder", target_in)
        for index, layer in enumerate(self.architecture.decoder.layers):
            name = f"decoder.layers.{index}"
            memory = torch.cat([outputs[-1 - back] for back in range(layer.attended_encoder_layers)])
            x = self.block(
                x, f"{name}.self_attn", lambda y, n=name, la=layer: self.self_attention(y, n, la, causal=True)
            )
            x = self.block(
                x, f"{name}.cross_attn", lambda y, n=name, la=layer, m=memory: self.cross_attention(y, n, la, m)
            )
            x = self.block(x, f"{name}.ffn", lambda y, n=name, la=layer: self.feed_forward(y, n, la))
        if self.options.pre_norm:
            x = self.norm(x, "decoder.final_norm")
        table = self.table("output")
        return x @ table[:, : x.size(1)].t()

    def table(self, side: str) -> Tensor:
        share = self.options.share_embeddings
        if share == "all":
            side = "source"
        elif share == "decoder" and side == "output":
            side = "target"
        return self.weights[f"{side}_embedding.weight"]

    def embed(self, stack: str, tokens: list[int]) -> Tensor:
        dim = getattr(self.architecture, stack).embed_dim
        maximum = self.maximum[stack]
        scale = math.sqrt(dim if self.options.embed_scale == "active" else maximum)
        half = maximum // 2
        rows = []
        for number, token in enumerate(tokens):
            angles = [(number + 2) * math.exp(-math.log(10000) * i / max(half - 1, 1)) for i in range(half)]
            signal = [math.sin(a) for a in angles] + [math.cos(a) for a in angles] + [0.0] * (maximum % 2)
            side = "source" if stack == "encoder" else "target"
            rows.append(self.table(side)[token, :dim] * scale + torch.tensor(signal[:dim], dtype=torch.float64))
        return torch.stack(rows)

    def block(self, x: Tensor, name: str, function) -> Tensor:  # type: ignore[no-untyped-def]
        if self.options.pre_norm:
            return x + function(self.norm(x, f"{name}_norm"))
        return self.norm(x + function(x), f"{name}_norm")

    def norm(self, x: Tensor, name: str) -> Tensor:
        dim = x.size(1)
        centred = x - x.mean(1, keepdim=True)
        normed = centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
        return normed * self.weights[f"{name}.weight"][:dim] + self.weights[f"{name}.bias"][:dim]

    def linear(self, x: Tensor, name: str, out: int) -> Tensor:
        return x @ self.weights[f"{name}.weight"][:out, : x.size(1)].t() + self.weights[f"{name}.bias"][:out]

    def feed_forward(self, x: Tensor, name: str, layer) -> Tensor:  # type: ignore[no-untyped-def]
        hidden = self.linear(x, f"{name}.ffn.fc1", layer.ffn_dim).clamp(min=0)
        return self.linear(hidden, f"{name}.ffn.fc2", x.size(1))

    def self_attention(self, x: Tensor, name: str, layer, causal: bool) -> Tensor:  # type: ignore[no-untyped-def]
        q = self.architecture.qkv_dim
        projected = self.linear(x, f"{name}.self_attn.qkv_proj", 3 * q)
        mixed = self.attend(
            projected[:, :q], projected[:, q : 2 * q], projected[:, 2 * q :], layer.self_attn_heads, causal
        )
        return self.linear(mixed, f"{name}.self_attn.out_proj", x.size(1))

    def cross_attention(self, x: Tensor, name: str, layer, memory: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        q = self.architecture.qkv_dim
        queries = self.linear(x, f"{name}.cross_attn.q_proj", q)
        projected = self.linear(memory, f"{name}.cross_attn.kv_proj", 2 * q)
        mixed = self.attend(queries, projected[:, :q], projected[:, q:], layer.cross_attn_heads, causal=False)
        return self.linear(mixed, f"{name}.cross_attn.out_proj", x.size(1))

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, heads: int, causal: bool) -> Tensor:
        size = queries.size(1) // heads
        rows = []
        for position, query in enumerate(queries):
            seen = position + 1 if causal else len(keys)
            parts = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                weights = torch.softmax(keys[:seen, part] @ query[part] / math.sqrt(size), dim=0)
                parts.append(weights @ values[:seen, part])
            rows.append(torch.cat(parts))
        return torch.stack(rows)
