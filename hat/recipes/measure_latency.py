"""Measure the latency of many SubTransformers on this machine, or of a few given ones."""

import json
import logging
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tqdm import tqdm

from hat.artifacts import RunFolder, alone_in, read_text
from hat.config import Section, Seed, flatten, read_yaml, shorten
from hat.errors import ConfigError
from hat.latency.choosing import choose_informative
from hat.latency.dataset import LatencyWriter
from hat.latency.device import describe
from hat.latency.measure import AnchoredTimer, measure, random_model
from hat.latency.settings import DEVICE_FILE, DeviceRecord, LatencySettings
from hat.latency.statistics import LatencySample
from hat.space import Architecture, SearchSpace

logger = logging.getLogger(__name__)

_LINES = 20  # how many lines of progress a whole run prints where there is no terminal


class MeasureLatencyConfig(Section):
    """Settings of ``hat-measure-latency``."""

    output: Path
    """Folder of ``latency.csv`` and ``device.json``."""
    space: SearchSpace
    """The search space to draw from, or the path of its YAML file; it may be wider than the one to search."""
    samples: int = Field(default=2000, gt=0)
    """How many different architectures: the smallest, the largest, and random ones. It may be raised later."""
    seed: Seed = 1
    """Decides which architectures are drawn."""
    choose: Literal["random", "informative"] = "random"
    """How: uniformly, or of many drawn those that tell the most about what the parts of a network cost."""
    anchor: Path | None = None
    """File of the architecture that is timed in turn with every sample, so that changes of the machine's pace can be
    taken out; null draws one with ``seed``."""
    settings: LatencySettings
    """What is timed."""


def measure_latency(
    config: MeasureLatencyConfig, restart: bool = False, architecture: Sequence[Path] | None = None
) -> Path | str:
    """Measure as ``config`` says and return the path of the CSV; a run that was interrupted goes on.

    Args:
        config: the settings.
        restart: begin anew even if the output folder holds measurements.
        architecture: measure these architecture files instead, write nothing and return JSON.

    Raises:
        ConfigError: if settings or machine differ from those of the run to continue, or cannot be.
        KeyboardInterrupt: on Ctrl-C; the rows measured so far are kept.
    """
    if architecture:
        return _measure_files(architecture, describe(config.settings))
    anchor = _anchor(config)
    device = describe(config.settings, anchor)
    architectures = draw_architectures(config.space, config.samples, config.seed, config.choose)
    timer = AnchoredTimer(anchor, device.settings)  # now: settings that cannot be leave nothing behind
    run = RunFolder(config.output, config, "hat-measure-latency")
    with alone_in(config.output):
        return _measure_all(config, restart, architectures, timer, device, run)


def draw_architectures(space: SearchSpace, samples: int, seed: int, choose: str = "random") -> list[Architecture]:
    """Different members of ``space``: the smallest, the largest, then random ones, or of those the informative.

    A larger number of samples goes on where a smaller one ended.

    Raises:
        ConfigError: if the space does not hold so many, or all but never gives them.
    """
    if samples > space.size():
        raise ConfigError(f"samples: must be at most {space.size()}, as many as the space holds, is {samples}.")
    if choose == "informative":
        return choose_informative(space, samples, seed)
    rng = random.Random(seed)
    drawn = dict.fromkeys([space.smallest(), space.largest()])  # keeps the order
    for _ in range(1000 + 100 * samples):
        if len(drawn) >= samples:
            return list(drawn)[:samples]
        drawn[space.sample(rng)] = None
    raise ConfigError(
        f"samples: this space gives only {len(drawn)} different architectures in reasonable time, not {samples}; set "
        f"samples: {len(drawn)}."
    )


def _anchor(config: MeasureLatencyConfig) -> Architecture:
    """What is timed in turn with every sample."""
    if config.anchor is not None:
        return Architecture.from_json(config.anchor)
    return config.space.sample(random.Random(config.seed))


def _measure_files(paths: Sequence[Path], device: DeviceRecord) -> str:
    """Latencies of given architectures as JSON: an object for one, a list for several."""
    architectures = [Architecture.from_json(path) for path in paths]  # all are read before the first is measured
    results: list[dict[str, Any]] = []
    for path, architecture in zip(paths, architectures, strict=True):
        sample = measure(random_model(architecture, device.settings), device.settings)
        logger.info("%s | %s | %s", path, architecture, _short(sample))
        results.append({"architecture": str(path), **sample.to_dict(), "device": device.model_dump(mode="json")})
    return json.dumps(results[0] if len(results) == 1 else results, indent=2)


def _measure_all(
    config: MeasureLatencyConfig,
    restart: bool,
    architectures: Sequence[Architecture],
    timer: AnchoredTimer,
    device: DeviceRecord,
    run: RunFolder,
) -> Path:
    """Measure what ``latency.csv`` does not hold yet; returns its path."""
    path = config.output / "latency.csv"
    if path.is_file() and (restart or not _has_rows(path)):
        path.unlink()
    if path.exists():
        _check_same(config, device)
    run.announce()
    device.write(config.output / DEVICE_FILE)
    writer = LatencyWriter(path)
    done = writer.architectures()
    if done[: len(architectures)] != tuple(architectures[: len(done)]):
        raise ConfigError(f"{path}: holds other architectures than this space and seed give; use --restart.")
    if done:
        logger.info("%s: %d of %d architectures are there already", path, len(done), len(architectures))
    started = time.monotonic()
    _measure_rest(architectures, len(done), timer, writer)
    rows = max(len(done), len(architectures))
    run.log(event="final", rows=rows, measured=rows - len(done))
    run.finish(rows=rows, measuring_seconds=round(time.monotonic() - started, 1))
    return path


def _has_rows(path: Path) -> bool:
    """Whether there is anything below the column names. Raises DataError if it is no file of ours at all."""
    return "\n" in read_text(path, "a latency data set (CSV)").strip()


def _measure_rest(
    architectures: Sequence[Architecture], done: int, timer: AnchoredTimer, writer: LatencyWriter
) -> None:
    """Measure all but the first ``done`` and show how it goes: a bar on a terminal, some lines elsewhere."""
    total, started = len(architectures), time.monotonic()
    on_terminal = sys.stderr.isatty()
    with tqdm(total=total, initial=min(done, total), unit="architecture", disable=not on_terminal) as bar:
        for number, architecture in enumerate(architectures[done:], done + 1):
            timed = timer.time(random_model(architecture, timer.settings))
            writer.append(architecture, timed.sample, timed.anchor_ms)
            bar.update()
            bar.set_postfix_str(_short(timed.sample))
            if not on_terminal and (number % max(1, total // _LINES) == 0 or number == total):
                left = (time.monotonic() - started) / (number - done) * (total - number)
                logger.info("%d/%d | %s | %s | %.0f s left", number, total, architecture, _short(timed.sample), left)


def _short(sample: LatencySample) -> str:
    return f"{sample.total.mean_ms:.4g} ms (encoder {sample.encoder.mean_ms:.3g})"


def _check_same(config: MeasureLatencyConfig, device: DeviceRecord) -> None:
    """Refuse to add rows to a file that was measured otherwise. Raises ConfigError naming the first difference."""
    where = config.output
    if not (where / "config.yaml").exists() or not (where / DEVICE_FILE).exists():
        raise ConfigError(
            f"{where}: latency.csv is there, but not config.yaml and {DEVICE_FILE}, which say how it was measured; "
            "choose another output folder, or begin anew with --restart."
        )
    device_before = DeviceRecord.read(where / DEVICE_FILE)
    if device_before.anchor is None:
        raise ConfigError(
            f"{where}: was measured without an anchor, by an earlier version; choose another output folder, or begin "
            "anew with --restart."
        )
    # The anchor is compared as it is in the device record, wherever its file lies now.
    pairs = [
        (read_yaml(where / "config.yaml"), config.model_dump(mode="json")),
        (device_before.model_dump(mode="json"), device.model_dump(mode="json")),
    ]
    for before, now in ((flatten(before), flatten(now)) for before, now in pairs):
        for key in sorted((before.keys() | now.keys()) - {"output", "samples", "anchor"}):
            if before.get(key) != now.get(key):
                raise ConfigError(
                    f"{where}: was measured with {key} {shorten(before.get(key))}, now it is {shorten(now.get(key))}; "
                    "go on with the same, choose another output folder, or begin anew with --restart."
                )
