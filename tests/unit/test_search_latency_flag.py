import pytest

from hat.cli.search import main, milliseconds
from hat.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200ms", 200.0),
        ("0.2s", 200.0),
        ("200", 200.0),
        (" 1.5 s ", 1500.0),
        ("2e3ms", 2000.0),
        ("1e-1S", 100.0),
        (".5ms", 0.5),
        ("7.", 7.0),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert milliseconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    ["", "fast", "0", "0ms", "-5", "-5ms", "inf", "infinity", "nan", "200us", "1 2", "1.2.3", ".", "1e999", "1e-999",
     "ms", "200 m s", "２００", "1_000", "0x10"],
)  # fmt: skip
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--latency: must be a positive time such as 200ms or 0\.2s, is '"):
        milliseconds(text)


@pytest.mark.parametrize("arguments", [["--latency", "-5"], ["--latency=-5ms"], ["--latency", "soon"]])
def test_the_command_says_so_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search.yaml", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hat-search: --latency: must be a positive time") and captured.err.count("\n") == 1
