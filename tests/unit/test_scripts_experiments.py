"""What the scripts of experiments refuse, and how they judge; the experiments themselves take hours."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hat.errors import ConfigError, DataError
from hat.space import SearchSpace

ROOT = Path(__file__).parents[2]
SETTINGS = {"seed": 1, "limits_ms": {"tight": (1.0, 2.0)}}


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")


def test_results_are_kept_with_their_settings(tmp_path: Path) -> None:
    from running import kept_results

    path = tmp_path / "results.json"
    kept = kept_results(path, SETTINGS)
    assert kept == {"settings": {"seed": 1, "limits_ms": {"tight": [1.0, 2.0]}}, "results": []}
    kept["results"].append(7)
    path.write_text(json.dumps(kept))
    assert kept_results(path, SETTINGS) == kept
    with pytest.raises(ConfigError, match="holds results of other settings or models; choose another --output"):
        kept_results(path, SETTINGS | {"seed": 2})


@pytest.mark.parametrize("content", ["", '{"settings": ', "[]", "\0"])
def test_what_is_no_results_is_refused_and_left_alone(content: str, tmp_path: Path) -> None:
    from running import kept_results

    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"results\.json"):
        kept_results(path, SETTINGS)
    assert path.read_text() == content


def test_cross_settings_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    from cross_settings import check_same

    path = tmp_path / "runs" / "arguments.json"
    path.parent.mkdir()
    check_same(path, {"share": 0.6})
    (tmp_path / "runs" / "1_thread").mkdir()
    check_same(path, {"share": 0.6})
    with pytest.raises(ConfigError, match="results of other settings"):
        check_same(path, {"share": 0.5})
    path.unlink()
    with pytest.raises(ConfigError, match="holds results, but not what they were made with"):
        check_same(path, {"share": 0.6})


def outcome(kind: str, limit_ms: float = 10.0, again_ms: tuple[float, ...] = (), seconds: float = 1.0) -> Any:
    from check_promise import Outcome

    found_ms = again_ms[0] if again_ms else None
    return Outcome(kind, limit_ms, seconds, found_ms, found_ms, again_ms, "")


@pytest.mark.parametrize(
    ("kind", "again_ms", "seconds", "kept"),
    [
        ("feasible", (9.0, 10.0, 8.0), 99.0, True),
        ("feasible", (9.0, 10.01, 8.0), 1.0, False),
        ("feasible", (), 1.0, False),
        ("tight", (), 99.0, None),
        ("tight", (9.0, 10.0, 8.0), 1.0, True),
        ("tight", (10.01,), 1.0, False),
        ("infeasible", (), 9.9, True),
        ("infeasible", (), 10.0, False),
    ],
)
def test_a_promise_is_kept(kind: str, again_ms: tuple[float, ...], seconds: float, kept: bool | None) -> None:
    """By every new measurement; an error keeps it where the limit is impossible and that is said at once."""
    assert outcome(kind, again_ms=again_ms, seconds=seconds).kept is kept


def test_the_summary_of_promises() -> None:
    from check_promise import table

    outcomes = [
        outcome("feasible", again_ms=(9.0, 9.6, 9.5)),  # a slack of 5 %, by the median
        outcome("feasible", again_ms=(9.0, 9.9, 11.0)),  # of 1 %, and not kept
        outcome("infeasible", seconds=7.0),
        outcome("tight", limit_ms=9.7),
        outcome("tight", limit_ms=9.5),
        outcome("feasible"),
    ]
    summary, *lines = table(outcomes).splitlines()
    assert summary == (
        "6 searches: 1 of the 2 networks that were returned kept their limit, with a median slack of 3.0 %. 2 tight "
        "limits were refused, 1 of which a network of another search keeps. 1 other answers are wrong or late; the "
        "slowest search under an impossible limit ended after 7.0 s."
    )
    assert ["NO" in line for line in lines[3:]] == [False, True, False, False, False, True]


def test_limits_are_within_at_and_below_what_the_space_can_do() -> None:
    from check_promise import limits_ms

    space = SearchSpace.from_yaml(ROOT / "configs/space/demo.yaml")
    predictor: Any = SimpleNamespace(predict_ms={space.smallest(): 2.0, space.largest(): 9.0}.__getitem__)
    ranges = limits_ms(predictor, space)
    assert ranges["feasible"] == (pytest.approx(2.4), 9.0)
    assert ranges["tight"] == (2.0, pytest.approx(2.3))
    assert ranges["infeasible"] == (pytest.approx(0.4), pytest.approx(1.9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timing.py", "--predictor", "nowhere", "a.json"], "timing: nowhere/predictor.json: no such file"),
        (["check_promise.py", "--predictor", "nowhere"], "check_promise: nowhere/predictor.json: no such file"),
        (["latency_campaigns.py", "nowhere.yaml"], "latency_campaigns: nowhere.yaml: no such file"),
    ],
)
def test_wrong_paths_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    script, *rest = arguments
    command = [sys.executable, str(ROOT / "scripts" / script), *rest]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(message) and "Traceback" not in done.stderr


def test_a_predictor_that_does_not_say_what_to_time_is_refused() -> None:
    from timing import device_of

    predictor: Any = SimpleNamespace(device=None)
    with pytest.raises(DataError, match=r"device\.json"):
        device_of(predictor)
