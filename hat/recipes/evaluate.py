"""Translate a test set and score it: BLEU in every way it is reported, loss, size and latency."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator

from hat.artifacts import RunFolder, file_digest, write_json, write_text
from hat.config import Section, Threads
from hat.data.batching import batch_cost_on, validation_batches
from hat.data.codec import TextCodec
from hat.data.corpus import ParallelCorpus, Sentences
from hat.data.shortlist import Shortlist
from hat.data.text import read_lines
from hat.decoding import BeamOptions
from hat.decoding.translator import Translator
from hat.errors import DataError
from hat.latency.device import describe, resolve
from hat.latency.measure import measure
from hat.latency.settings import CallSettings, LatencySettings
from hat.metrics import compound_split_bleu, sacre_bleu, tokenized_bleu
from hat.nn import Transformer
from hat.nn.device import choose_device
from hat.nn.files import WEIGHTS_FILE
from hat.nn.packed import DType, kernels
from hat.recipes.model_folder import load_model
from hat.recipes.training import use_threads
from hat.special_ids import UNK_ID
from hat.training.validation import ValidationResult, validation_loss
from hat.training.world import World


class EvaluateConfig(Section):
    """Settings of ``hat-evaluate``. The text is a split of ``data``, or the two files ``source`` and ``target``."""

    model: Path
    """Folder of a standalone model, or of a SuperTransformer when ``architecture`` is given."""
    architecture: Path | None = None
    """Which SubTransformer of a SuperTransformer."""
    data: Path | None = None
    """A folder that hat-prepare made."""
    split: str = "test"
    """Which of its splits."""
    source: Path | None = None
    """Text to translate, plain or .gz."""
    target: Path | None = None
    """Its reference translation, line by line."""
    reference: Path | None = None
    """The reference before it was split into words, for sacreBLEU; null takes ``target``, put together again where the
    tokeniser knows how."""
    output: Path | None = None
    """Folder for the translations and the results; null only prints the results."""
    lowercase: bool = False
    """Compute BLEU and sacreBLEU without case."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Of the loss that is reported; the perplexity is without."""
    batch_tokens: int = Field(default=4096, gt=0)
    """Tokens of a batch, padding included."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    dtype: DType = "float32"
    """Type of the matrix products while translating: ``bfloat16`` and ``int8`` are faster and round more; ``int8``
    needs a CPU, ``float16`` a GPU."""
    shortlist: Path | None = None
    """A ``shortlist.npz`` that hat-prepare made: only the target tokens that it gives a sentence's source tokens are
    scored. Faster where the vocabulary is large, and no longer quite the same; null scores all."""
    threads: Threads | None = None
    """CPU threads for translating; null leaves torch's choice."""
    decoding: BeamOptions = BeamOptions()
    latency: CallSettings | None = None
    """How to measure the model's latency on this machine; null leaves it out. ``beam``, ``dtype`` and ``threads`` are
    those of the translation where they are left out here, and with a shortlist, as many target tokens are scored as it
    has for a sentence on average."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluateConfig":
        texts = (self.source is not None, self.target is not None)
        if (self.data is not None) == any(texts) or texts[0] != texts[1]:
            raise ValueError("either data, or both source and target must be given, and not all three")
        if self.data is not None and self.reference is not None:
            raise ValueError("reference must be left out with data, which hat-prepare gave its own")
        return self


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Score a model as ``config`` says; the result is also written to the output folder when there is one.

    Tokenised BLEU counts what stands between spaces. Of raw text in pieces of sentencepiece, which know no words, these
    are words with their punctuation: sacreBLEU is the one to report then.

    Raises:
        ConfigError, DataError: if model, text and settings do not fit together.
    """
    use_threads(config.threads)
    source, target, untouched = _texts(config)
    net, codec = load_model(config.model, config.architecture)
    shortlist = None if config.shortlist is None else Shortlist.load(config.shortlist)
    corpus = _corpus(codec, source, target)
    listed = None
    if shortlist is not None:
        shortlist.check_made_for(codec.vocabulary_digest())
        listed = _mean_tokens(shortlist, corpus.source_sentences)
    device = choose_device(config.device)
    call = None if config.latency is None else _call(config.latency, config, listed)
    if call is not None:
        resolve(call, "latency")  # now, so that a device that is not here is found out before the work
    run = None if config.output is None else RunFolder(config.output, config, "hat-evaluate")
    translator = Translator(net.to(device), codec, config.dtype, shortlist)
    started = time.perf_counter()
    found = [best for (best,) in translator.translate_nbest(source, config.decoding, config.batch_tokens, most=1)]
    seconds = time.perf_counter() - started
    words, references = [translation.words for translation in found], [codec.target_words(line) for line in target]
    texts = [translation.text for translation in found]
    loss = _loss(net, corpus, config, device)
    results = {
        "model": str(config.model),
        "digests": _digests(config.model, config.architecture),
        "sentences": len(source),
        "bleu": {
            "tokenized": tokenized_bleu(words, references, config.lowercase),
            "compound_split": compound_split_bleu(words, references, config.lowercase),
            "sacrebleu": sacre_bleu(texts, untouched or [codec.target_text(line) for line in target], config.lowercase),
        },
        "loss": loss.loss,
        "nll": loss.nll,
        "perplexity": loss.perplexity if math.isfinite(loss.perplexity) else None,
        "parameters": sum(weight.numel() for weight in net.weights().values()),
        "translation_seconds": round(seconds, 3),
        "decoding": {
            **config.decoding.model_dump(),
            "dtype": config.dtype,
            "kernels": kernels(config.dtype, device),
            "shortlist": None if shortlist is None else {"file": str(config.shortlist), "mean_tokens": listed},
        },
        "latency": None if call is None else _latency(net, call),
    }
    if run is not None:
        write_text(run.path / "translations.txt", "".join(f"{text}\n" for text in texts))
        write_json(run.path / "evaluation.json", results)
        run.forget()
        run.log(event="final", **results)
        run.finish()
    return results


def _digests(model: Path, architecture: Path | None) -> dict[str, str]:
    """What tells a model from a later one in its place: digests of its weights and of the architecture file, if any."""
    files = {"model": model / WEIGHTS_FILE, "architecture": architecture}
    return {name: file_digest(path) for name, path in files.items() if path is not None}


def _texts(config: EvaluateConfig) -> tuple[list[str], list[str], list[str]]:
    """Source, reference, and the reference before it was split into words (empty where there is none)."""
    if config.data is not None:
        ParallelCorpus.load(config.data, config.split)  # says clearly what is missing
        paths = [config.data / f"{config.split}.{side}.txt" for side in ("source", "target", "reference")]
        if not paths[-1].exists():
            paths.pop()
    else:
        paths = [path for path in (config.source, config.target, config.reference) if path is not None]
    texts = [read_lines(path) for path in paths]
    for path, lines in zip(paths, texts, strict=True):
        if len(lines) != len(texts[0]):
            raise DataError(f"{paths[0]} has {len(texts[0])} lines and {path} has {len(lines)}; they must be parallel.")
    if not texts[0]:
        raise DataError(f"{paths[0]}: must hold at least one line, is empty.")
    source, target, *untouched = texts
    return source, target, untouched[0] if untouched else []


def _mean_tokens(shortlist: Shortlist, source: Sentences) -> int:
    """How many target tokens a sentence is translated with, on average; one besides the special ones at least."""
    numbers = [len(shortlist.candidates(source[row].tolist())) for row in range(len(source))]
    return max(UNK_ID + 2, round(float(np.mean(numbers))))


def _call(latency: CallSettings, config: EvaluateConfig, listed: int | None) -> CallSettings:
    """The call to measure: what ``latency`` leaves out is as in the translation."""
    same = {"beam": config.decoding.beam, "dtype": config.dtype, "threads": config.threads, "shortlist": listed}
    return latency.model_copy(update={name: same[name] for name in same.keys() - latency.model_fields_set})


def _latency(net: Transformer, call: CallSettings) -> dict[str, Any]:
    """What the model takes here, with the device and the call it was measured for."""
    settings = LatencySettings(
        **call.model_dump(),
        source_vocab_size=net.source_vocab_size,
        target_vocab_size=net.target_vocab_size,
        share_embeddings=net.options.share_embeddings,
        pre_norm=net.options.pre_norm,
    )
    return {**measure(net, settings).to_dict(), "device": describe(settings).model_dump(mode="json")}


def _loss(net: Transformer, corpus: ParallelCorpus, config: EvaluateConfig, device: torch.device) -> ValidationResult:
    # A test set is taken as it is: where a sentence is longer than a batch, the batch grows.
    longest = max(int(side.lengths(0, len(side)).max()) for side in (corpus.source_sentences, corpus.target_sentences))
    loss = validation_loss(
        net,
        lambda batch: net.hidden(batch.source, batch.target_in),
        validation_batches(corpus, max(config.batch_tokens, longest), batch_cost=batch_cost_on(device.type)),
        config.label_smoothing,
        world=World(0, 1, device),
    )
    if not math.isfinite(loss.loss):
        raise DataError(f"{config.model}: the loss must be a number, is {loss.loss}; the weights are damaged.")
    return loss


def _corpus(codec: TextCodec, source: list[str], target: list[str]) -> ParallelCorpus:
    return ParallelCorpus(
        _sentences([codec.encode_source(line) for line in source]),
        _sentences([codec.encode_target(line) for line in target]),
        len(codec.source_vocabulary),
        len(codec.target_vocabulary),
    )


def _sentences(ids: list[list[int]]) -> Sentences:
    offsets = np.concatenate([[0], np.cumsum([len(sentence) for sentence in ids])]).astype(np.int64)
    return Sentences(np.concatenate([np.asarray(sentence, dtype=np.int64) for sentence in ids]), offsets)
