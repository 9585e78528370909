"""hat itself, through what its commands call."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import hat
from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.prepared import Prepared, Turn, check_hypotheses, repeat
from hat.artifacts import RunFolder
from hat.config import validate
from hat.data.batch import Batch
from hat.data.corpus import SentenceWriter
from hat.decoding import beam_search
from hat.latency.measure import beam_options
from hat.nn.packed import pack
from hat.recipes.search_config import SearchConfig
from hat.recipes.search_losses import Evaluator
from hat.training.checkpoint import CheckpointFolder
from hat.training.optimizer import ScheduleConfig
from hat.training.trainer import Trainer, TrainingConfig
from hat.training.world import World

CPU = torch.device("cpu")
NEVER = 10**9


def decoding(case: Case, variant: str, threads: int) -> Prepared:
    """hat-translate's search with packed weights."""
    net = inputs.network(case)
    packed = pack(net, variant, CPU, shortlists=case.shortlist is not None)  # type: ignore[arg-type]
    options, source = beam_options(inputs.call_settings(case)), inputs.sentences(case, 1)
    found = beam_search(packed, source, options)
    check_hypotheses([len(one.tokens) for sentence in found for one in sentence], case.length)
    batch = inputs.pairs(replace(case, sentences=1))
    difference = inputs.log_probabilities(net, batch) - _stepwise(packed, batch)
    timed = packed if case.shortlist is None else packed.among(torch.arange(case.shortlist))
    return Prepared(
        repeat(lambda turn: beam_search(timed, source, options)),
        case.sentences * case.length,
        "target tokens",
        hat.__version__,
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        difference=float(difference.abs().max()),
    )


@torch.inference_mode()
def _stepwise(net: hat.Transformer, batch: Batch) -> Tensor:
    """Log-probabilities of the target as decoding computes them, step by step: (1, T)."""
    state = net.start(net.encode(batch.source), 1)
    steps = [net.step(tokens[:, None], state).float().log_softmax(-1) for tokens in batch.target_in.t()]
    return torch.cat(steps, 1).gather(2, batch.target_out[:, :, None])[:, :, 0]


class _OneBatch:
    """Stands for the stream of training batches: a turn begins where the trainer asks for the next batch."""

    epoch = 0

    def __init__(self, batch: Batch, turn: Turn) -> None:
        self.batch, self.turn, self.round = batch, turn, 0

    def next_update(self) -> list[Batch]:
        """The same batch, when its turn has come."""
        self.round = self.turn()
        return [self.batch]


def training(case: Case, variant: str, threads: int) -> Prepared:
    """hat-train-super's or hat-train-sub's updates."""
    model = (
        inputs.network(case, inputs.DROPOUT) if case.network == "plain" else inputs.super_network(case, inputs.DROPOUT)
    )
    if case.network == "extracted":
        model = model.extract(inputs.architecture_of(case, 0))
    batch = inputs.pairs(case)
    config = TrainingConfig(
        max_updates=NEVER, log_every=NEVER, validate_every=NEVER, checkpoint_every=NEVER,
        label_smoothing=inputs.SMOOTHING, precision=variant, device="cpu", schedule=ScheduleConfig(peak=1e-4),
    )  # fmt: skip

    def loop(turn: Turn) -> None:
        batches = _OneBatch(batch, turn)

        def hidden_of(batch: Batch, update: int) -> Tensor:
            inside = isinstance(model, hat.SuperTransformer)
            active = (inputs.architecture_of(case, batches.round),) if inside else ()
            return model.hidden(batch.source, batch.target_in, *active)

        with tempfile.TemporaryDirectory() as folder:
            run, checkpoints = RunFolder(folder, config, "benchmark"), CheckpointFolder(Path(folder), 1, {})
            trainer = Trainer(model, hidden_of, batches, {}, [], config, 1, run, checkpoints, World(0, 1, CPU))
            trainer.train(None)

    tokens = batch.source.numel() + batch.target_out.numel()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Prepared(loop, tokens, "source and target tokens", hat.__version__, parameters=parameters)


def scoring(case: Case, variant: str, threads: int) -> Prepared:
    """hat-search's loss of one candidate on the whole validation set."""
    folder = tempfile.TemporaryDirectory()
    root = Path(folder.name)
    model = inputs.super_network(case)
    model.save_pretrained(root / "super")
    _write_corpus(root / "data", case)
    settings = {
        "output": root, "supertransformer": root / "super", "predictor": root, "data": root / "data",
        "latency_limit_ms": 1, "precision": variant, "device": "cpu", "scoring": {"parts": 1}, "max_tokens": 4096,
    }  # fmt: skip
    evaluator = Evaluator(validate(SearchConfig, settings, where="benchmark"), CPU)
    parameters = sum(parameter.numel() for parameter in model.parameters())

    def loop(turn: Turn) -> None:
        with folder:
            repeat(lambda round: evaluator.losses([inputs.architecture_of(case, round)], 0))(turn)

    return Prepared(loop, case.sentences, "sentences", hat.__version__, parameters=parameters)


def _write_corpus(folder: Path, case: Case) -> None:
    """The validation set as hat-prepare writes it."""
    folder.mkdir()
    sizes = {}
    for side, sentences in zip(("source", "target"), inputs.validation_sentences(case), strict=True):
        with SentenceWriter(folder, f"valid.{side}", case.shape.vocabulary) as writer:
            writer.append([token for sentence in sentences for token in sentence], [len(one) for one in sentences])
        sizes[f"{side}_tokens"] = sum(len(one) for one in sentences)
    meta = {
        "format": "hat.data-bin/1", "source_language": "aa", "target_language": "bb", "joint_vocabulary": False,
        "source_vocab_size": case.shape.vocabulary, "target_vocab_size": case.shape.vocabulary,
        "splits": {"valid": {"rows": case.sentences, **sizes}},
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
