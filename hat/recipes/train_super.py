"""Train a SuperTransformer: every update trains one SubTransformer of its space."""

from functools import partial
from pathlib import Path

import torch
from pydantic import Field

from hat.artifacts import RunFolder
from hat.config import Section
from hat.nn.transformer import ModelOptions, SuperTransformer
from hat.recipes.training import check_vocabulary, copy_tokenizer, held_out_batches, training_batches, use_threads
from hat.space import SearchSpace
from hat.training.checkpoint import CheckpointFolder
from hat.training.sampling import UniformSampler
from hat.training.trainer import Trainer, TrainingConfig
from hat.training.world import join_world


class TrainSuperConfig(Section):
    """Settings of ``hat-train-super``."""

    output: Path
    """Folder of the SuperTransformer."""
    data: Path
    """A folder that hat-prepare made."""
    space: SearchSpace
    """The search space, or the path of its YAML file."""
    seed: int = 1
    """Decides weights, batches, dropout and which SubTransformer each update trains."""
    model: ModelOptions = ModelOptions()
    training: TrainingConfig
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
    meta = check_vocabulary(config.data, config.model.share_embeddings)
    with join_world(config.training.device) as world:
        batches = training_batches(config.data, config.training, config.seed, world)
        validation = held_out_batches(config.data, config.training)
        torch.manual_seed(config.seed)
        model = SuperTransformer(
            config.space,
            source_vocab_size=meta.source_vocab_size,
            target_vocab_size=meta.target_vocab_size,
            **config.model.model_dump(),
        ).to(world.device)
        sampler = UniformSampler(config.space, config.seed)
        if restart and world.is_main:
            CheckpointFolder(config.output / "checkpoints", 1).clear()
        run = RunFolder(config.output, config, "hat-train-super", writes=world.is_main)
        trainer = Trainer(
            model,
            lambda batch, update: model.hidden(batch.source, batch.target_in, sampler(update)),
            batches,
            {
                name: partial(
                    lambda architecture, batch: model.hidden(batch.source, batch.target_in, architecture), member
                )
                for name, member in sampler.validation_architectures(config.random_architectures).items()
            },
            validation,
            config.training,
            config.seed,
            run,
            world,
            describe=lambda update: str(sampler(update)),
        )
        trainer.train()
        results = trainer.validate()
        if world.is_main:
            model.save_pretrained(config.output)
            copy_tokenizer(config.data, config.output)
            losses = {name: {"loss": result.loss, "nll": result.nll} for name, result in results.items()}
            run.log(event="final", update=trainer.update, **losses)
            run.finish(training_seconds=round(trainer.seconds, 1), updates=trainer.update, processes=world.size)
    return config.output
