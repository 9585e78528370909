"""The results as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.targets import TARGETS, Result, best, median_seconds, ratio


def markdown(record: dict[str, Any]) -> str:
    """The whole page of a record that ``python -m benchmarks`` wrote."""
    about = record["about"]
    lines = [
        f"{about['machine']}, torch {about['torch']}, commit {about['commit']}, {about['date']}; medians of "
        f"{about['repeats']} rounds.",
        "",
        *_targets([result for group in record["groups"] for result in group["results"]]),
    ]
    for group in record["groups"]:
        lines += ["", f"### {group['title']}", "", *_group(group["results"], bool(group["sweep"]))]
    return "\n".join(lines) + "\n"


def _targets(results: Sequence[Result]) -> list[str]:
    """Every target that was timed: what is compared, the ratio of times, and what it is to be at most."""
    rows = []
    for target in TARGETS:
        ours, theirs = best(results, target.ours), best(results, target.theirs)
        if ours is None or theirs is None:
            continue
        measured = ratio(ours, theirs)
        kept = "yes" if measured <= target.at_most else "no"
        other = f"{theirs['peer']} {theirs['variant']}"
        if target.ours[0] != target.theirs[0]:
            other += f", {target.theirs[0]}"
        rows.append((target.ours[0], f"hat {ours['variant']}", other, _number(measured), _number(target.at_most), kept))
    if not rows:
        return ["None of the targets was timed."]
    return table(("case", "time of", "over that of", "ratio", "at most", "kept"), rows)


def _group(results: Sequence[Result], sweep: bool) -> list[str]:
    """One line for each peer, variant and case; times for each number of threads."""
    threads = sorted({result["threads"] for result in results})
    keys = dict.fromkeys((result["case"]["name"], result["peer"], result["variant"]) for result in results)
    several = len({case for case, _, _ in keys}) > 1
    rows = []
    for case, peer, variant in keys:
        own = [r for r in results if (r["case"]["name"], r["peer"], r["variant"]) == (case, peer, variant)]
        times = [next((_time(r) for r in own if r["threads"] == number), "") for number in threads]
        timed = [r for r in own if r.get("seconds")]
        fastest = min(timed, key=median_seconds, default=None)
        row = [*([case] if several else []), f"{peer} {variant}", *times]
        rows.append((*row, *_facts(fastest, results, sweep), _note(own)))
    facts = ("per second", "times the limit", *(() if sweep else ("parameters", "difference")))
    heads = (*(("case",) if several else ()), "", *(f"ms, threads {n}" for n in threads), *facts, "")
    return table(heads, rows)


def _facts(fastest: Result | None, results: Sequence[Result], sweep: bool) -> tuple[str, ...]:
    """Units per second, times the limit, parameters and difference of the fastest of a line."""
    if fastest is None:
        return ("",) * (2 if sweep else 4)
    rate = f"{fastest['units'] / median_seconds(fastest):,.0f} {fastest['unit']}"
    variant = fastest["variant"].split()[0].replace("medium", "float32")
    limit = best(results, (fastest["case"]["name"], "limit", variant))
    above = "" if limit is None or fastest is limit else _number(ratio(fastest, limit))
    if sweep:
        return rate, above
    parameters, difference = fastest["parameters"], fastest["difference"]
    shown = "" if difference is None else f"{difference:.0e}"
    return rate, above, "" if parameters is None else f"{parameters:,}", shown


def _time(result: Result) -> str:
    return f"{1000 * median_seconds(result):,.4g}" if result.get("seconds") else ""


def _note(own: Sequence[Result]) -> str:
    """What stands beside a line: why there are no times, or where the work is not equal."""
    notes = (result.get(kind) for kind in ("missing", "error", "note") for result in own)
    return "; ".join(dict.fromkeys(note.replace("|", "/") for note in notes if note))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)]


def _number(value: float) -> str:
    return f"{value:.2f}"
