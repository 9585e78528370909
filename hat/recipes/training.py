"""What training a SuperTransformer and training a SubTransformer have in common."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hat.artifacts import RunFolder, alone_in, check_owner, make_folder, read_record
from hat.config import Section, Seed
from hat.data.batch import Batch
from hat.data.batching import TrainingBatches, batch_cost_on, validation_batches
from hat.data.codec import TextCodec
from hat.data.corpus import CorpusMeta, ParallelCorpus
from hat.errors import ConfigError, DataError, HatError
from hat.nn.files import MODEL_FILES, TOKENIZER_FOLDER, copy_tokenizer
from hat.training.checkpoint import CheckpointFolder, remove_leftovers
from hat.training.progress import check_tensorboard
from hat.training.trainer import Trainer, TrainingConfig
from hat.training.world import World

logger = logging.getLogger(__name__)


class TrainConfig(Section):
    """Settings that both training commands have."""

    output: Path
    """Folder of the model."""
    data: Path
    """A folder that hat-prepare made."""
    seed: Seed = 1
    """Decides every random choice: weights, batches, dropout, and which SubTransformer an update trains."""
    training: TrainingConfig


def check_vocabulary(data: Path, share_embeddings: str) -> CorpusMeta:
    """The data's description, after checking that it suits the way embeddings are shared. Raises ConfigError."""
    meta = CorpusMeta.load(data)
    if share_embeddings == "all" and not meta.joint_vocabulary:
        raise ConfigError(
            f"model.share_embeddings: 'all' needs one joint vocabulary, but {data} has two; use 'decoder' or 'none', "
            "or prepare the data with vocabulary.joint: true."
        )
    return meta


def check_same_symbols(data: Path, model_folder: Path) -> None:
    """Check that the data's ids mean what they mean to a trained model. Raises DataError.

    Vocabularies of the same size are not enough: sentencepiece gives exactly the size that is asked for.
    """
    ours, theirs = TextCodec.load(data / "tokenizer"), TextCodec.load(model_folder / "tokenizer")
    for side in ("source", "target"):
        found, expected = getattr(ours, f"{side}_vocabulary"), getattr(theirs, f"{side}_vocabulary")
        if found != expected:
            raise DataError(
                f"{data}: must have the {side} vocabulary of {model_folder} ({len(expected)} symbols), has another one "
                f"({len(found)} symbols); prepare the data with that model's tokeniser and dict.txt."
            )


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


def held_out_batches(data: Path, config: TrainingConfig, world: World) -> Sequence[Batch]:
    """All batches of the validation split."""
    cost = batch_cost_on(world.device.type)
    corpus = ParallelCorpus.load(data, "valid")
    return validation_batches(corpus, config.max_tokens, config.max_sentences, batch_cost=cost)


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)


def _identity(data: Path) -> dict[str, Any]:
    """What tells training data from others, wherever the folder is: sizes, and a digest of vocabularies and sentences.

    A thousand sentences tell one corpus from another, if not from one with a few other sentences; reading all of a
    large corpus would take minutes.
    """
    corpus = ParallelCorpus.load(data, "train")
    digest = hashlib.sha256()
    for side in ("source", "target"):
        digest.update((data / "tokenizer" / side / "dict.txt").read_bytes())
    for row in np.unique(np.linspace(0, len(corpus) - 1, 1000).astype(np.int64)).tolist():
        digest.update(corpus.source_sentences[row].tobytes() + corpus.target_sentences[row].tobytes())
    return {**CorpusMeta.load(data).splits["train"].model_dump(), "content": digest.hexdigest()[:16]}


@dataclass(frozen=True)
class OpenRun:
    """A run's folder and where the run stands, the same for every process."""

    folder: RunFolder
    checkpoints: CheckpointFolder
    state: dict[str, Any] | None
    """To go on from; None: from the start."""
    complete: bool
    """The model is there, trained and put together as the settings say: nothing is to be done."""

    def finish(self, trainer: Trainer) -> None:
        """Record what the run cost, and how its model was put together."""
        self.folder.finish(
            training_seconds=round(trainer.seconds, 1), processes=trainer.world.size, **_ending(trainer.config)
        )


def _ending(config: TrainingConfig) -> dict[str, Any]:
    """What decides the model of a run, of the settings that may change when it is continued."""
    return {"updates": config.max_updates, "final": config.final, "keep_last": config.keep_last}


@contextlib.contextmanager
def open_run(
    config: TrainConfig, command: str, contents: Mapping[str, Any], world: World, restart: bool
) -> Iterator[OpenRun]:
    """The run's folder, its checkpoints and where it stands.

    No other run writes into the folder inside the block, where the system can lock folders.

    Args:
        config: the settings.
        command: its name, for ``run.json``.
        contents: what settings that are paths lead to: that, and not where it is, must stay the same in a run.
        world: the processes that train together.
        restart: forget the checkpoints and the model of an earlier run.

    Raises:
        ConfigError: if the folder holds what another command made, a run with other settings, or a model without the
            state it could go on from, or if another process writes there, or if TensorBoard is wanted and not
            installed; nothing in it is changed then.
        DataError: if its state is damaged, or the data folder lacks its tokeniser.
    """
    settings = config.model_dump(mode="json")
    TextCodec.load(config.data / "tokenizer")  # says clearly what is missing
    settings["data"] = _identity(config.data)
    # Two processes are as good as one that takes twice as many batches, so only the product must stay.
    del settings["training"]["accumulate"]
    settings["training.accumulate times processes"] = config.training.accumulate * world.size
    checkpoints = CheckpointFolder(config.output / "checkpoints", config.training.keep_last, {**settings, **contents})
    with contextlib.ExitStack() as stack:
        # What the main process finds, a mistake too, is what all go on with: none waits for another that has ended.
        found = world.share(_open_alone(config, command, checkpoints, restart, stack) if world.is_main else None)
        if isinstance(found, HatError):
            raise found
        assert found is not None  # the main process's
        folder = found.folder if world.is_main else RunFolder(config.output, config, command, writes=False)
        yield replace(found, folder=folder)


def _open_alone(
    config: TrainConfig, command: str, checkpoints: CheckpointFolder, restart: bool, stack: contextlib.ExitStack
) -> OpenRun | HatError:
    """Make the folder ready, or return the user's mistake. Locked by ``stack``."""
    try:
        check_owner(config.output, command)
        if config.training.tensorboard:
            check_tensorboard()
        stack.enter_context(alone_in(make_folder(config.output)))
        if restart:  # the checks are done: from here on nothing but a fault stops this run
            checkpoints.clear()
            for name in MODEL_FILES:  # an old model must not meet the tokeniser of the new run
                (config.output / name).unlink(missing_ok=True)
        remove_leftovers(config.output)
        remove_leftovers(checkpoints.path)
        state = checkpoints.load_state()
        if state is None and (config.output / MODEL_FILES[0]).exists():
            raise ConfigError(
                f"{config.output}: holds a model, but no state of its training to go on from; choose another output "
                "folder, or replace it with --restart."
            )
        done = 0 if state is None else state["update"]
        if done > config.training.max_updates:
            raise ConfigError(
                f"training.max_updates: must be at least the {done} updates that {config.output} was trained for, is "
                f"{config.training.max_updates}; choose another output folder, or begin anew with --restart."
            )
        run = RunFolder(config.output, config, command)
        if _is_complete(config, done):
            logger.info("%s: all %d updates are made and the model is there; nothing is to be done", run.path, done)
            return OpenRun(run, checkpoints, None, complete=True)
        if state is not None:
            run.go_on()
        run.announce()
        run.forget_after(done)
        copy_tokenizer(config.data / "tokenizer", config.output)
    except HatError as error:
        return error
    return OpenRun(run, checkpoints, state, complete=False)


def _is_complete(config: TrainConfig, done: int) -> bool:
    """Whether a run that made ``done`` updates is finished as ``config`` says."""
    record, ending = read_record(config.output), _ending(config.training)
    there = all((config.output / name).exists() for name in (*MODEL_FILES, TOKENIZER_FOLDER))
    return there and done == ending["updates"] and ending.items() <= record.items()
