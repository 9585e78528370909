"""Train a SuperTransformer: every update trains one SubTransformer of its space."""

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from hat.data.batch import Batch
from hat.nn import ModelOptions, SuperTransformer
from hat.nn.files import TOKENIZER_FOLDER
from hat.recipes.training import (
    TrainConfig,
    check_vocabulary,
    held_out_batches,
    open_run,
    training_batches,
    use_threads,
)
from hat.space import Architecture, SearchSpace
from hat.training.sampling import UniformSampler
from hat.training.trainer import Trainer
from hat.training.world import join_world


class TrainSuperConfig(TrainConfig):
    """Settings of ``hat-train-super``."""

    space: SearchSpace
    """The search space, or the path of its YAML file."""
    model: ModelOptions = ModelOptions()
    random_architectures: int = Field(default=2, ge=0)
    """Random SubTransformers that are validated beside the smallest and the largest."""


def train_super(config: TrainSuperConfig, restart: bool = False) -> Path:
    """Train as ``config`` says and return the model's folder; a run that was interrupted goes on.

    Args:
        config: the settings.
        restart: begin anew even if the output folder holds an unfinished run.

    Raises:
        ConfigError: if settings and data do not fit together, or differ from those of the run to continue.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state is saved.
    """
    use_threads(config.training.threads)
    with join_world(config.training.device) as world:
        model = _new_model(config).to(world.device)
        sampler = UniformSampler(config.space, config.seed)
        members = sampler.validation_architectures(config.random_architectures)
        batches = training_batches(config.data, config.training, config.seed, world)
        validation = held_out_batches(config.data, config.training, world)
        with open_run(config, "hat-train-super", {}, world, restart) as run:
            if run.complete:
                return config.output
            trainer = Trainer(
                model,
                lambda batch, update: model.hidden(batch.source, batch.target_in, sampler(update)),
                batches,
                {name: _hidden_of(model, architecture) for name, architecture in members.items()},
                validation,
                config.training,
                config.seed,
                run.folder,
                run.checkpoints,
                world,
                describe=lambda update: str(sampler(update)),
            )
            trainer.train(run.state)
            results = trainer.validate()
            if world.is_main:
                model.tokenizer_folder = config.output / TOKENIZER_FOLDER
                model.save_pretrained(config.output)
                losses = {name: {"loss": result.loss, "nll": result.nll} for name, result in results.items()}
                run.folder.log(event="final", update=trainer.update, **losses)
                run.finish(trainer)
    return config.output


def _new_model(config: TrainSuperConfig) -> SuperTransformer:
    meta = check_vocabulary(config.data, config.model.share_embeddings)
    torch.manual_seed(config.seed)
    return SuperTransformer(
        config.space,
        source_vocab_size=meta.source_vocab_size,
        target_vocab_size=meta.target_vocab_size,
        **config.model.model_dump(),
    )


def _hidden_of(model: SuperTransformer, architecture: Architecture) -> Callable[[Batch], Tensor]:
    return lambda batch: model.hidden(batch.source, batch.target_in, architecture)
