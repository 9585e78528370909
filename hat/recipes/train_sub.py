"""Train one SubTransformer as a standalone model: from scratch, or from weights inherited from a SuperTransformer."""

from pathlib import Path

import torch
from pydantic import model_validator

from hat.artifacts import file_digest
from hat.errors import ConfigError
from hat.nn import MaximumDims, ModelOptions, SuperTransformer, Transformer
from hat.nn.files import TOKENIZER_FOLDER, WEIGHTS_FILE
from hat.recipes.model_folder import read_member
from hat.recipes.training import (
    TrainConfig,
    check_same_symbols,
    check_vocabulary,
    held_out_batches,
    open_run,
    training_batches,
    use_threads,
)
from hat.space import Architecture, SearchSpace
from hat.training.trainer import Trainer
from hat.training.world import join_world

_DROPOUTS = {"dropout", "attention_dropout", "activation_dropout"}


class TrainSubConfig(TrainConfig):
    """Settings of ``hat-train-sub``."""

    architecture: Path
    """An ``architecture.json``, from hat-search or written by hand."""
    inherit: Path | None = None
    """Folder of a SuperTransformer whose weights are the start; null trains from scratch."""
    space: SearchSpace | None = None
    """From scratch: the space the architecture was found in. Its largest widths then fix position signals and the
    scale of dropout, as in the SuperTransformer; null takes the architecture's own."""
    model: ModelOptions | None = None
    """Options of the model; with ``inherit``, only the dropout probabilities may differ from the SuperTransformer's,
    and what is left out is as it was there."""

    @model_validator(mode="after")
    def _check(self) -> "TrainSubConfig":
        if self.inherit is not None and self.space is not None:
            raise ValueError("space must be left out with inherit: the SuperTransformer knows its own")
        if self.inherit is not None and self.inherit.resolve() == self.output.resolve():
            raise ValueError("output must not be the folder of the SuperTransformer that is inherited from")
        return self


def train_sub(config: TrainSubConfig, restart: bool = False) -> Path:
    """Train as ``config`` says and return the model's folder; a run that was interrupted goes on.

    Args:
        config: the settings.
        restart: begin anew even if the output folder holds an unfinished run.

    Raises:
        ConfigError: if settings, data and architecture do not fit together, or differ from the run to continue.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state is saved.

    Source: HAT (arXiv:2005.14187), sections 3.3 and 4.2 (inherit and fine-tune for a quarter of the updates).
    """
    use_threads(config.training.threads)
    torch.manual_seed(config.seed)
    net = _from_scratch(config) if config.inherit is None else _inherited(config, config.inherit)
    config = config.model_copy(update={"model": net.options})  # complete, for the record
    contents = {
        "architecture": net.architecture.to_dict(),
        "inherit": None if config.inherit is None else file_digest(config.inherit / WEIGHTS_FILE),
    }
    with join_world(config.training.device) as world:
        net.to(world.device)
        batches = training_batches(config.data, config.training, config.seed, world)
        validation = held_out_batches(config.data, config.training, world)
        with open_run(config, "hat-train-sub", contents, world, restart) as run:
            if run.complete:
                return config.output
            trainer = Trainer(
                net,
                lambda batch, update: net.hidden(batch.source, batch.target_in),
                batches,
                {"valid": lambda batch: net.hidden(batch.source, batch.target_in)},
                validation,
                config.training,
                config.seed,
                run.folder,
                run.checkpoints,
                world,
            )
            trainer.train(run.state)
            result = trainer.validate()["valid"]
            if world.is_main:
                net.tokenizer_folder = config.output / TOKENIZER_FOLDER  # that of the data, not of what was inherited
                net.save_pretrained(config.output)
                run.folder.log(event="final", update=trainer.update, loss=result.loss, nll=result.nll)
                run.finish(trainer)
    return config.output


def _from_scratch(config: TrainSubConfig) -> Transformer:
    options = config.model or ModelOptions()
    meta = check_vocabulary(config.data, options.share_embeddings)
    maximum = None
    if config.space is None:
        architecture = Architecture.from_json(config.architecture)
    else:
        architecture = read_member(config.architecture, config.space)
        sizes = config.space.super_architecture()
        maximum = MaximumDims(encoder=sizes.encoder.embed_dim, decoder=sizes.decoder.embed_dim)
    return Transformer(
        architecture,
        source_vocab_size=meta.source_vocab_size,
        target_vocab_size=meta.target_vocab_size,
        maximum_embed_dim=maximum,
        **options.model_dump(),
    )


def _inherited(config: TrainSubConfig, folder: Path) -> Transformer:
    model = SuperTransformer.from_pretrained(folder)
    check_same_symbols(config.data, folder)
    net = model.extract(read_member(config.architecture, model.space))
    return net if config.model is None else _with_dropout(net, config.model)


def _with_dropout(net: Transformer, options: ModelOptions) -> Transformer:
    """The same network with other dropout probabilities; what ``options`` leaves out stays the SuperTransformer's."""
    given = {name: getattr(options, name) for name in sorted(options.model_fields_set)}
    for name, wanted in given.items():
        inherited = getattr(net.options, name)
        if inherited != wanted and name not in _DROPOUTS:
            raise ConfigError(
                f"model.{name}: must be the SuperTransformer's ('{inherited}') to inherit its weights, is '{wanted}'."
            )
    net.options = net.options.model_copy(update=given)
    return net
