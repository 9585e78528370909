"""Measure the latency of many SubTransformers on this machine, or of a few given ones."""

import json
import logging
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hat.artifacts import RunFolder, alone_in, read_record, read_text
from hat.config import Section, Seed, first_difference, load_config, shorten
from hat.errors import ConfigError
from hat.latency.choosing import choose_informative
from hat.latency.device import begin_session, describe, end_session
from hat.latency.measure import AnchoredTimer, measure, random_model
from hat.latency.settings import DEVICE_FILE, DEVICE_FORMAT, DeviceRecord, LatencySettings
from hat.latency.statistics import Timed
from hat.latency.writer import LatencyWriter
from hat.recipes.latency_rows import Collected, Time, fill, short
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_parameters

logger = logging.getLogger(__name__)

_ANCHOR_DRAWS = 101  # of these, one of middle size is the anchor: large ones cost time, extremes are unlike the rest
_RESTLESS = 2  # times as large as wanted, the standard errors of latencies are worth a warning


class MeasureLatencyConfig(Section):
    """Settings of ``hat-measure-latency``."""

    output: Path
    """Folder of ``latency.csv`` and ``device.json``."""
    space: SearchSpace
    """The search space to draw from, or the path of its YAML file; it may be wider than the one to search."""
    samples: int = Field(default=125, gt=0)
    """How many different architectures: the smallest, the largest, and random ones. It may be raised later."""
    seed: Seed = 1
    """Decides which architectures are drawn."""
    choose: Literal["random", "informative"] = "random"
    """How: uniformly, or of many drawn those that tell the most about what the parts of a network cost."""
    anchor: Literal["auto", "none"] | Path = "auto"
    """File of the architecture that is timed in turn with every sample, so that changes of the machine's pace can be
    taken out; ``auto`` draws one of middle size with ``seed``. ``none`` times nothing in turn, for comparison: it takes
    half the time, and whatever happens to the machine's pace is in the latencies."""
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
    timed = _timing(anchor, device.settings)  # now: settings that cannot be leave nothing behind
    run = RunFolder(config.output, config, "hat-measure-latency")
    with alone_in(config.output):
        return _measure_all(config, restart, architectures, timed, device, run)


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
            break
        drawn[space.sample(rng)] = None
    if len(drawn) >= samples:
        return list(drawn)[:samples]
    raise ConfigError(
        f"samples: this space gives only {len(drawn)} different architectures in reasonable time, not {samples}; set "
        f"samples: {len(drawn)}."
    )


def _anchor(config: MeasureLatencyConfig) -> Architecture | None:
    """What is timed in turn with every sample; None where nothing is."""
    if config.anchor == "none":
        return None
    if isinstance(config.anchor, Path):
        return Architecture.from_json(config.anchor)
    rng = random.Random(config.seed)
    drawn = [config.space.sample(rng) for _ in range(_ANCHOR_DRAWS)]
    # A decoder's weights are read at every step, an encoder's once: the decoder decides how long a call takes.
    return sorted(drawn, key=lambda one: count_parameters(one).decoder)[_ANCHOR_DRAWS // 2]


def _timing(anchor: Architecture | None, settings: LatencySettings) -> Time:
    """How every sample is timed. Raises ConfigError where that cannot be."""
    if anchor is None:

        def time_alone(architecture: Architecture) -> Timed:
            sample = measure(random_model(architecture, settings), settings)
            return Timed(sample, relative_error=sample.relative_error)

        return time_alone
    timer = AnchoredTimer(anchor, settings)

    def time_beside_anchor(architecture: Architecture) -> Timed:
        timed = timer.time(random_model(architecture, settings))
        return Timed(timed.sample, timed.anchor_ms, timed.relative_error)

    return time_beside_anchor


def _measure_files(paths: Sequence[Path], device: DeviceRecord) -> str:
    """Latencies of given architectures as JSON: an object for one, a list for several."""
    architectures = [Architecture.from_json(path) for path in paths]  # all are read before the first is measured
    results: list[dict[str, Any]] = []
    for path, architecture in zip(paths, architectures, strict=True):
        sample = measure(random_model(architecture, device.settings), device.settings)
        logger.info("%s | %s | %s", path, architecture, short(sample))
        results.append({"architecture": str(path), **sample.to_dict(), "device": device.model_dump(mode="json")})
    return json.dumps(results[0] if len(results) == 1 else results, indent=2)


def _measure_all(
    config: MeasureLatencyConfig,
    restart: bool,
    architectures: Sequence[Architecture],
    timed: Time,
    device: DeviceRecord,
    run: RunFolder,
) -> Path:
    """Measure what ``latency.csv`` does not hold yet; returns its path."""
    path = config.output / "latency.csv"
    if path.is_file() and (restart or not _has_rows(path)):
        path.unlink()
    before = _check_same(config, device) if path.exists() else None
    writer = LatencyWriter(path, anchored=device.anchor is not None)
    _check_members(writer, config.space)
    if before is not None and _is_complete(config.output, writer, architectures):
        logger.info("%s: holds all %d architectures; nothing is to be measured", path, len(architectures))
        return path
    run.announce()
    if before is None:
        run.forget()
    device = begin_session(device, before)
    for line in device.lines():
        logger.info("%s", line)
    device.write(config.output / DEVICE_FILE)
    started = time.monotonic()
    try:
        collected = fill(
            writer,
            architectures,
            timed,
            device.settings.anchor_tolerance,
            lambda architecture, error: run.log(event="failed", architecture=architecture.to_dict(), error=error),
        )
    finally:
        end_session(device).write(config.output / DEVICE_FILE)
    failed = len(collected.failed)
    if failed:
        told = "%d of %d architectures could not be measured; metrics.jsonl names them"
        logger.warning(told, failed, len(architectures))
    if collected.retaken or collected.off:
        logger.info("%d measured anew, %d still at another pace than the rest", collected.retaken, collected.off)
    error = _tell_error(collected, device.settings)
    counts = {
        "rows": len(writer.architectures()), "measured": collected.measured, "failed": failed,
        "retaken": collected.retaken, "off_pace": collected.off, "median_relative_error": error,
    }  # fmt: skip
    run.log(event="final", **counts)
    names = [{"architecture": str(one), "error": error} for one, error in collected.failed.items()]
    run.finish(**{**counts, "failed": names}, measuring_seconds=round(time.monotonic() - started, 1))
    return path


def _is_complete(output: Path, writer: LatencyWriter, architectures: Sequence[Architecture]) -> bool:
    """Whether measuring came to its end before, and all of these were measured."""
    return "rows" in read_record(output) and set(architectures) <= set(writer.architectures())


def _tell_error(collected: Collected, settings: LatencySettings) -> float | None:
    """The median of the measurements' standard errors; warns where it is far above what was asked for."""
    if not collected.errors:
        return None
    error = statistics.median(collected.errors)
    logger.info("half of the latencies are known to %.1f %% or better", 100 * error)
    if settings.relative_error is not None and error > _RESTLESS * settings.relative_error:
        logger.warning(
            "this machine is restless: %d runs were too few to know most latencies to %.1f %% "
            "(settings.relative_error); measure while nothing else runs, or raise settings.runs", settings.runs,
            100 * settings.relative_error,
        )  # fmt: skip
    return round(error, 5)


def _has_rows(path: Path) -> bool:
    """Whether there is anything below the column names. Raises DataError if it is no file of ours at all."""
    return "\n" in read_text(path, "a latency data set (CSV)").strip()


def _check_members(writer: LatencyWriter, space: SearchSpace) -> None:
    """Refuse a file that holds what cannot be of this space, or one architecture twice."""
    architectures = writer.architectures()
    if any(architecture not in space for architecture in architectures):
        raise ConfigError(f"{writer.path}: holds other architectures than this space gives; use --restart.")
    if len(set(architectures)) < len(architectures):
        raise ConfigError(f"{writer.path}: holds an architecture twice (put together from two files?); use --restart.")


def _check_same(config: MeasureLatencyConfig, device: DeviceRecord) -> DeviceRecord:
    """Refuse to add rows to a file that was measured otherwise; returns the record of how it was measured.

    Raises:
        ConfigError: naming the first difference.
    """
    where = config.output
    if not (where / "config.yaml").exists() or not (where / DEVICE_FILE).exists():
        raise ConfigError(
            f"{where}: latency.csv is there, but not config.yaml and {DEVICE_FILE}, which say how it was measured; "
            "choose another output folder, or begin anew with --restart."
        )
    device_before = DeviceRecord.read(where / DEVICE_FILE)
    if device_before.format != DEVICE_FORMAT:
        raise ConfigError(
            f"{where}: was measured by an earlier version, which decoded otherwise; choose another output folder, or "
            "begin anew with --restart."
        )
    if (device_before.anchor is None) != (device.anchor is None):
        without = "without" if device_before.anchor is None else "with"
        raise ConfigError(
            f"{where}: was measured {without} an anchor; set anchor as it was, choose another output folder, or begin "
            "anew with --restart."
        )
    before = load_config(MeasureLatencyConfig, where / "config.yaml")  # what is new since then has its default
    # The anchor is compared as it is in the device record, wherever its file lies now.
    settings = before.model_dump(mode="json"), config.model_dump(mode="json")
    different = first_difference(*settings, leave_out=("output", "samples", "anchor"))
    different = different or device_before.difference(device)
    if different is not None:
        key, then, now = different
        raise ConfigError(
            f"{where}: was measured with {key} {shorten(then)}, now it is {shorten(now)}; go on with the same, choose "
            "another output folder, or begin anew with --restart."
        )
    return device_before
