"""Training latency predictors on a data set."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hat.config import Section
from hat.errors import ConfigError
from hat.latency.cost_model import CostModel, fit_cost_model
from hat.latency.device import cpu_threads
from hat.latency.mlp import MLP, PAPER_FEATURE_SCALE, Layers, Normalisation
from hat.latency.rows import FloatArray, Rows


class MLPOptions(Section):
    """How the paper's network is trained.

    The authors' own run is ``{steps: 5000, learning_rate: 0.00001, schedule: constant, normalisation: paper,
    latency_scale_ms: 200, loss: squared, early_stopping: false}`` (their scale differs between devices); it stops
    before the network has learnt what the data say.
    """

    hidden_dims: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(400, 400, 400), min_length=1)
    """Units of the hidden layers."""
    steps: int = Field(default=600, gt=0)
    """Updates."""
    batch_size: int = Field(default=128, gt=0)
    """Rows an update sees; all of them when there are not more."""
    learning_rate: float = Field(default=0.0005, gt=0, le=1)
    """Adam's rate at the start."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """``cosine`` takes the rate down to zero."""
    loss: Literal["relative", "squared"] = "relative"
    """``relative``: the absolute error relative to the measurement (squared where it is below 2 %), which rows that
    were measured while the machine did something else pull less; ``squared``: the paper's squared error in ms."""
    normalisation: Literal["centred", "paper"] = "centred"
    """``paper``: features and latencies are divided by fixed scales. ``centred``: features have the training rows'
    mean taken away before that, latencies are standardised by the training rows."""
    latency_scale_ms: float | None = Field(default=None, gt=0)
    """What latencies are divided by with ``paper``; null takes the training rows' mean."""
    early_stopping: bool = True
    """Keep the weights of the smallest loss on the validation rows instead of the last ones."""


_Tensors = tuple[Tensor, Tensor, Tensor | None]  # inputs, targets, and units of relative errors
_QUADRATIC_BELOW = 0.02  # relative errors; the noise of a good data set is about as large
_CHECK_EVERY = 10  # updates between two looks at the validation rows


def fit_mlp(train: Rows, valid: Rows, options: MLPOptions, seed: int) -> MLP:
    """Train the paper's network.

    It runs on one thread: so small a network gains nothing from more, and the result does not depend on their number.

    Args:
        train: the rows.
        valid: other rows, those that ``early_stopping`` looks at.
        options: the recipe.
        seed: of the weights and the order of rows.

    Raises:
        ConfigError: if training diverges.

    Source: HAT (arXiv:2005.14187), section 3.3: the network. The recipe differs, see :class:`MLPOptions`.
    """
    normalisation = _normalisation(train.features, train.latency_ms, options)
    generator = torch.Generator().manual_seed(seed)
    with cpu_threads(1):
        train_tensors, valid_tensors = (_tensors(rows, normalisation, options) for rows in (train, valid))
        net = _network(options.hidden_dims, train_tensors[0], generator)
        return MLP(normalisation, _train(net, train_tensors, valid_tensors, options, generator))


FITTERS: dict[str, Callable[..., MLP | CostModel]] = {
    "structured": lambda train, valid, options, seed: fit_cost_model(train, options),
    "mlp": fit_mlp,
}
"""Kinds of predictors by name, as functions of training rows, validation rows, the options of the kind and a seed."""


def _normalisation(features: FloatArray, latency_ms: FloatArray, options: MLPOptions) -> Normalisation:
    mean_ms = float(latency_ms.mean())
    if options.normalisation == "paper":
        scale_ms = options.latency_scale_ms or mean_ms
        return Normalisation((0.0,) * len(PAPER_FEATURE_SCALE), PAPER_FEATURE_SCALE, 0.0, scale_ms, mean_ms / 100)
    return Normalisation(
        feature_mean=tuple(features.mean(axis=0).tolist()),
        feature_scale=PAPER_FEATURE_SCALE,
        latency_mean_ms=mean_ms,
        latency_scale_ms=float(latency_ms.std()) or 1.0,
        lowest_ms=mean_ms / 100,
    )


def _network(hidden_dims: tuple[int, ...], inputs: Tensor, generator: torch.Generator) -> nn.Sequential:
    """A new network: uniform weights within 1 / sqrt(inputs), as torch draws them, from ``generator``."""
    dims = [inputs.size(1), *hidden_dims, 1]
    linears = [nn.utils.skip_init(nn.Linear, width_in, width_out) for width_in, width_out in pairwise(dims)]
    for linear in linears:
        bound = linear.in_features**-0.5
        for parameter in linear.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    with torch.no_grad():
        # A feature that never varies teaches nothing: without this its random weights would answer for other values.
        linears[0].weight[:, (inputs.abs() < 1e-6).all(0)] = 0.0
    net = nn.Sequential(linears[0])
    for linear in linears[1:]:
        net.append(nn.ReLU()).append(linear)
    return net


def _train(
    net: nn.Sequential,
    train: _Tensors,
    valid: _Tensors,
    options: MLPOptions,
    generator: torch.Generator,
) -> Layers:
    """Train ``net`` and return the weights to keep."""
    inputs, targets, units = train
    optimizer = torch.optim.Adam(net.parameters(), lr=options.learning_rate)
    batches = _batches(len(inputs), options.batch_size, generator)
    best_loss, best = math.inf, None
    for step in range(1, options.steps + 1):
        if options.schedule == "cosine":
            optimizer.param_groups[0]["lr"] = options.learning_rate * _cosine(step - 1, options.steps)
        rows = next(batches)
        optimizer.zero_grad()
        _loss(net, inputs[rows], targets[rows], None if units is None else units[rows]).backward()
        optimizer.step()
        if step == options.steps or (options.early_stopping and step % _CHECK_EVERY == 0):
            with torch.no_grad():
                loss = float(_loss(net, *valid))
            if loss < best_loss:
                best_loss, best = loss, _layers(net)
    if best is None:
        raise ConfigError(
            "mlp: training diverged, the loss is no number; set a smaller learning_rate, or another latency_scale_ms."
        )
    return best


def _tensors(rows: Rows, normalisation: Normalisation, options: MLPOptions) -> _Tensors:
    """What the network sees and should answer, (n, 10) and (n, 1), and what errors count in, (n, 1); float32."""
    outputs = normalisation.outputs(rows.latency_ms)[:, None]
    units = normalisation.latency_scale_ms / rows.latency_ms[:, None] if options.loss == "relative" else None
    inputs, targets = (torch.from_numpy(values).float() for values in (normalisation.inputs(rows.features), outputs))
    return inputs, targets, None if units is None else torch.from_numpy(units).float()


def _batches(rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of one update after the other, every row once an epoch but for an incomplete last batch."""
    while True:
        order = torch.randperm(rows, generator=generator)
        if rows <= batch_size:
            yield order
            continue
        yield from (batch for batch in order.split(batch_size) if len(batch) == batch_size)


def _cosine(done: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * done / steps))


def _loss(net: nn.Sequential, inputs: Tensor, targets: Tensor, units: Tensor | None) -> Tensor:
    """The mean loss; ``units`` turn errors of the output into relative ones, None asks for the squared error."""
    if units is None:
        return functional.mse_loss(net(inputs), targets)
    return functional.smooth_l1_loss(net(inputs) * units, targets * units, beta=_QUADRATIC_BELOW)


def _layers(net: nn.Sequential) -> Layers:
    """The weights as they are now, in double precision."""
    return tuple(
        (layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy().astype(np.float64))
        for layer in net
        if isinstance(layer, nn.Linear)
    )
