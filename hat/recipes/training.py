"""What training a SuperTransformer and training a SubTransformer have in common."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from hat.artifacts import make_folder
from hat.data.batching import Batch, TrainingBatches, validation_batches
from hat.data.corpus import CorpusMeta, ParallelCorpus
from hat.errors import ConfigError
from hat.training.trainer import TrainingConfig
from hat.training.world import World


def check_vocabulary(data: Path, share_embeddings: str) -> CorpusMeta:
    """The data's description, after checking that it suits the way embeddings are shared. Raises ConfigError."""
    meta = CorpusMeta.load(data)
    if share_embeddings == "all" and not meta.joint_vocabulary:
        raise ConfigError(
            f"model.share_embeddings: 'all' needs one joint vocabulary, but {data} has two; use 'decoder' or 'none', "
            "or prepare the data with vocabulary.joint: true."
        )
    return meta


def training_batches(data: Path, config: TrainingConfig, seed: int, world: World) -> TrainingBatches:
    """This process's share of the training batches."""
    corpus = ParallelCorpus.load(data, "train")
    return TrainingBatches(
        corpus,
        max_tokens=config.max_tokens,
        max_sentences=config.max_sentences,
        seed=seed,
        world_size=world.size,
        rank=world.rank,
        accumulate=config.accumulate,
    )


def held_out_batches(data: Path, config: TrainingConfig) -> Sequence[Batch]:
    """All batches of the validation split."""
    return validation_batches(ParallelCorpus.load(data, "valid"), config.max_tokens, config.max_sentences)


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)


def copy_tokenizer(source: Path, model_folder: Path) -> None:
    """Give a model folder the ``tokenizer/`` of a data or model folder, so that it can translate text on its own."""
    target = make_folder(model_folder) / "tokenizer"
    if (source / "tokenizer").resolve() != target.resolve():
        shutil.copytree(source / "tokenizer", target, dirs_exist_ok=True)
