"""Compare ways to search one SuperTransformer under one limit, over several seeds: docs/results/search.md.

Run from the repository, in an environment with the extra ``report``, on a trained SuperTransformer and a predictor:

    python scripts/compare_searches.py configs/multi30k/search.yaml --latency 15ms --seeds 1 2 3 4 5

Per seed, three searches with predicted latencies: the paper's evolution, which scores every candidate on all validation
sentences; the same evolution with the settings of ``scoring``; and as many random candidates as the first. All share
one file of scores, so that nothing is computed twice; what a search needs is counted in each as if it had been alone.
Which random candidate is the best is found in parts as well, but counted as if every one had been scored on all
sentences. A comparison that is interrupted goes on where it was.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from running import kept_results

from hat.artifacts import file_digest, make_folder, write_json, write_text
from hat.cli.command import run_guarded
from hat.cli.search import milliseconds
from hat.config import load_config, override_of
from hat.latency.predictor import PREDICTOR_FILE, LatencyPredictor
from hat.nn.device import choose_device
from hat.recipes.search_config import SearchConfig
from hat.recipes.search_limits import limits_of
from hat.recipes.search_losses import Evaluator, SharedLosses
from hat.recipes.training import use_threads
from hat.search import Generation, Scoreboard, ScoringConfig, Task, evolutionary_search, random_search
from hat.search.scores import ScoreFile
from hat.training.world import World

PAPER, IN_PARTS, RANDOM = PROCEDURES = "paper", "in-parts", "random"
ENOUGH = 0.005
"""Nats per token: a best that is at most so much worse counts as good."""


def main() -> None:
    """Run what is not done yet, write table and picture, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="settings of hat-search")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that replace the file's")
    parser.add_argument("--latency", required=True, help="the limit, as for hat-search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--procedures", nargs="+", choices=PROCEDURES, default=PROCEDURES)
    parser.add_argument("--output", type=Path, default=Path("runs/compare_searches"), help="folder of the results")
    args = parser.parse_intermixed_args()
    limit = override_of("latency_limit_ms", milliseconds(args.latency))
    output = override_of("output", str(args.output))
    config = load_config(SearchConfig, args.config, [*args.overrides, limit, output])
    print(compare(config, args.seeds, args.procedures))


def compare(config: SearchConfig, seeds: Sequence[int], procedures: Sequence[str] = PROCEDURES) -> str:
    """Run the searches of every seed that were not run before; returns the table of all."""
    use_threads(config.threads)
    bench = _Bench(config)
    path = make_folder(config.output) / "comparison.json"
    kept = kept_results(path, bench.settings())
    runs: list[dict[str, Any]] = kept["results"]
    for seed in seeds:
        for procedure in procedures:
            if not any((run["seed"], run["procedure"]) == (seed, procedure) for run in runs):
                runs.append(bench.run(procedure, seed))
                write_json(path, kept)
    chosen = [run for run in runs if run["seed"] in seeds]
    text = table(chosen)
    write_text(config.output / "comparison.md", text + "\n")
    draw(config.output / "comparison.png", chosen)
    return text


class _Bench:
    """A SuperTransformer, a limit, and all losses computed so far."""

    def __init__(self, config: SearchConfig) -> None:
        device = choose_device(config.device)
        self.config = config
        self.evaluator = Evaluator(config, device)
        model = self.evaluator.model
        sizes = [len(part) for part in self.evaluator.tokens]
        kept = ScoreFile(config.scores or config.output / "scores.jsonl", self.evaluator.basis(), sizes)
        self.losses = SharedLosses(self.evaluator, World(0, 1, device), kept)
        predict_ms = LatencyPredictor.load(config.predictor).predict_ms
        limits = limits_of(config.limits, model, config.predicted_limit)
        self.task = Task(model.space, predict_ms, config.latency_limit_ms, limits)
        self.sentences = sum(sizes)

    def settings(self) -> dict[str, Any]:
        """What must be the same for searches to be compared, as plain values."""
        sections = self.config.evolution, self.config.scoring, self.config.limits
        return {
            "scores": self.evaluator.basis(),
            "predictor": file_digest(self.config.predictor / PREDICTOR_FILE),
            "latency_limit_ms": self.config.latency_limit_ms,
            "predicted_limit": self.config.predicted_limit,
            "sections": [section.model_dump(mode="json") for section in sections],
        }

    def run(self, procedure: str, seed: int) -> dict[str, Any]:
        """One search, and the course it took."""
        scoring: ScoringConfig = self.config.scoring.model_copy(update={"stop_early": procedure != PAPER})
        if procedure == RANDOM:  # its best, as surely as its confidence says
            scoring = scoring.model_copy(update={"tolerance": 0.0})
        scores = Scoreboard(self.losses, self.evaluator.tokens, scoring)
        course: list[tuple[int, float]] = []

        def add(generation: Generation) -> None:
            counted = scores.scored * self.sentences if procedure == RANDOM else generation.sentences
            course.append((counted, generation.best.score))
            print(f"seed {seed}, {procedure}: best {generation.best.score:.4f} after {counted:,} sentences", flush=True)

        algorithm = random_search if procedure == RANDOM else evolutionary_search
        best = algorithm(self.task, scores, self.config.evolution, random.Random(seed), add)[0]
        return {
            "seed": seed,
            "procedure": procedure,
            "loss": best.score,
            "predicted_ms": best.latency_ms,
            "scored": scores.scored,
            "sentence_evaluations": course[-1][0],
            "course": course,
            "best": best.architecture.to_dict(),
        }


def table(runs: Sequence[dict[str, Any]]) -> str:
    """The searches of each seed side by side, as Markdown."""
    lines = [
        "| seed | procedure | best loss | candidates | sentence evaluations | times fewer | against the paper's best |",
        "|---|---|---|---|---|---|---|",
    ]
    papers = {run["seed"]: run for run in runs if run["procedure"] == PAPER}
    for run in sorted(runs, key=lambda run: (run["seed"], PROCEDURES.index(run["procedure"]))):
        paper = papers.get(run["seed"], run)
        fewer = paper["sentence_evaluations"] / run["sentence_evaluations"]
        difference = run["loss"] - paper["loss"]
        verdict = "the same" if run["best"] == paper["best"] else f"{difference:+.4f}"
        lines.append(
            f"| {run['seed']} | {run['procedure']} | {run['loss']:.4f} | {run['scored']} "
            f"| {run['sentence_evaluations']:,} | {fewer:.1f} | {verdict} |"
        )
    for procedure in (IN_PARTS, RANDOM):
        pairs = [(run, papers[run["seed"]]) for run in runs if run["procedure"] == procedure and run["seed"] in papers]
        if pairs:
            good = sum(run["loss"] - paper["loss"] <= ENOUGH for run, paper in pairs)
            total, paper_total = (sum(pair[i]["sentence_evaluations"] for pair in pairs) for i in (0, 1))
            lines += [
                "",
                f"{procedure}: at most {ENOUGH} nats above the paper's best in {good} of {len(pairs)} seeds, with "
                f"{paper_total / total:.1f} times fewer sentence evaluations.",
            ]
    return "\n".join(lines)


def draw(path: Path, runs: Sequence[dict[str, Any]]) -> None:
    """The best loss so far against the sentences scored so far."""
    import matplotlib

    matplotlib.use("Agg")  # no screen is needed
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    labels = {PAPER: "evolution, all sentences", IN_PARTS: "evolution, in parts", RANDOM: "random, all sentences"}
    for color, (procedure, label) in enumerate(labels.items()):
        courses = [run["course"] for run in runs if run["procedure"] == procedure]
        for number, course in enumerate(courses):
            axes.plot(*zip(*course, strict=True), ".-", color=f"C{color}", alpha=0.7, label=None if number else label)
    axes.set(xlabel="sentence evaluations", ylabel="best validation loss (nats per token)", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    raise SystemExit(run_guarded("compare_searches", main))
