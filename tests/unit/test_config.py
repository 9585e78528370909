"""YAML to config: includes, overrides, and one clear line for each broken rule."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from hat.config import Section, load_config, override_of, to_yaml, validate
from hat.errors import ConfigError, did_you_mean


class Layer(Section):
    width: int = Field(default=4, gt=0)
    """Width."""
    kind: Literal["relu", "gelu"] = "relu"
    """Which."""


class Stack(Section):
    layer: Layer = Layer()
    """One layer."""
    extra: tuple[Layer, ...] = ()
    """More layers."""


class Example(Section):
    seed: int = 1
    """Seed."""
    rate: float = Field(default=0.1, ge=0, le=1)
    """Rate."""
    stack: Stack = Stack()
    """Stack."""
    other: Stack | None = None
    """Another stack."""
    output: Path = Path("runs/x")
    """Where to write."""
    limit: int | Literal["auto"] = "auto"
    """Limit."""
    weights: dict[str, float] | None = None
    """Weights by name."""
    names: tuple[str, ...] = ()
    """Names."""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, text: str, *overrides: str) -> Example:
    return load_config(Example, write(tmp_path / "a.yaml", text), overrides)


def test_values_nested_sections_and_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "seed: 7\nstack: {layer: {width: 9}}\n")
    assert config == Example(seed=7, stack=Stack(layer=Layer(width=9)))
    assert config.rate == 0.1


def test_a_section_may_be_another_file_relative_to_the_one_that_names_it(tmp_path: Path) -> None:
    write(tmp_path / "parts/stack.yaml", "layer: deep/layer.yaml\n")
    write(tmp_path / "parts/deep/layer.yaml", "{width: 11, kind: gelu}\n")
    config = load(tmp_path, "stack: parts/stack.yaml\nother: {layer: parts/deep/layer.yaml}\n")
    assert config.stack == config.other == Stack(layer=Layer(width=11, kind="gelu"))


@pytest.mark.parametrize(
    "text", ["😀 b", "\x7f\x01", "a: [b, 'c' \"d\" # e", "null", "1e3", " ", "", "ä\n\tö", "x" * 300 + " y"]
)
def test_an_override_made_of_a_text_gives_that_text(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "seed: 1\n", override_of("names", ["a"]), override_of("output", text)).output == Path(text)


def test_a_missing_include_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parts/none.yaml: no such file; give the path of a YAML file"):
        load(tmp_path, "stack: parts/none.yaml\n")


def test_overrides_come_last_and_reach_into_included_files(tmp_path: Path) -> None:
    write(tmp_path / "stack.yaml", "layer: {width: 11, kind: gelu}\n")
    config = load(tmp_path, "seed: 3\nstack: stack.yaml\n", "stack.layer.width=12", "seed=4", "seed=5", "rate=1e-3")
    assert config == Example(seed=5, rate=0.001, stack=Stack(layer=Layer(width=12, kind="gelu")))


def test_an_override_may_open_a_section_empty_a_value_and_hold_yaml(tmp_path: Path) -> None:
    config = load(
        tmp_path, "other:\nseed: 2\n", "other.layer.width=3", "names=[a, 'b=c']", "weights={x: 0.5}", "limit=7"
    )
    assert config == Example(seed=2, other=Stack(layer=Layer(width=3)), names=("a", "b=c"), weights={"x": 0.5}, limit=7)
    assert load(tmp_path, "other: {}\n", "other=").other is None
    assert load(tmp_path, "seed: 2\n", "output=a=b").output == Path("a=b")


@pytest.mark.parametrize("key", ["stack", "other"])
def test_an_override_may_name_a_file_from_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    write(tmp_path / "here/layer.yaml", "width: 5\n")
    write(tmp_path / "here/stack.yaml", "layer: layer.yaml\n")
    monkeypatch.chdir(tmp_path / "here")
    assert getattr(load(tmp_path, "seed: 1\n", f"{key}=stack.yaml"), key).layer.width == 5
    assert getattr(load(tmp_path, "seed: 1\n", f"{key}.layer=layer.yaml"), key).layer.width == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "'seed': an override must look like section.key=value"),
        ("=3", "'=3': an override must look like section.key=value"),
        ("seed.x=3", "'seed.x=3': seed is a value, not a section"),
        ("names=[a", r"'names=\[a': the value is not valid YAML; put quotes around it"),
        ("names=2024-99-99", "the value is not valid YAML"),
        ("weights={a: 1, a: 2}", "the value is not valid YAML"),
        ("sed=3", "a.yaml: sed: no such setting. Did you mean 'seed'?"),
        ("stack.layer.widht=3", "a.yaml: stack.layer.widht: no such setting. Did you mean 'width'?"),
        ("stack.layer.width=0", "a.yaml: stack.layer.width: must be greater than 0, is 0"),
        ("seed=", "a.yaml: seed: must be a whole number, is null"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, "seed: 1\n", override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 1", "^{file}: sed: no such setting. Did you mean 'seed'\\?$"),
        ("zzz: 1", "^{file}: zzz: no such setting. Known: limit, names, other, output, rate, seed, stack, weights.$"),
        ("other: {layr: {}}", "other.layr: no such setting. Did you mean 'layer'"),
        ("stack: {extra: [{width: 1}, {wdth: 2}]}", "stack.extra.1.wdth: no such setting. Did you mean 'width'"),
        ("stack: {extra: [{kind: tanh}]}", "stack.extra.0.kind: must be 'relu' or 'gelu', is 'tanh'"),
        ("stack: 3", "stack: must be a section of 'key: value' lines, is 3"),
        ("stack:", "stack: must be a section of 'key: value' lines, is null"),
        ("stack: [1]", r"stack: must be a section of 'key: value' lines, is \[1\]"),
        ("seed: one", "seed: must be a whole number, is 'one'"),
        ("seed: 1.5", "seed: must be a whole number, is 1.5"),
        ("rate: 1.5", "rate: must be less than or equal to 1, is 1.5"),
        ("rate: .nan", "rate: must be a finite number, is nan"),
        ("weights: {x: .inf}", "weights.x: must be a finite number, is inf"),
        ("names: a", "names: must be a list, is 'a'"),
        ("weights: {x: big}", "weights.x: must be a valid number, .*, is 'big'"),
        ("limit: often", "limit: must be a whole number or must be 'auto', is 'often'"),
        ("3: 4", "3: keys must be strings|3: keys should be strings"),
        ("names: [a, 5]", r"names.1: must be text \(a number or true, false, null in quotes\), is 5"),
        ("seed: x\nrate: 2", "seed: must be a whole number, is 'x'; rate: must be less than"),
        (f"names: {'x' * 500}", "names: must be a list, is 'x{{50,60}}...$"),
    ],
)
def test_broken_rules_name_file_key_rule_and_value(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    with pytest.raises(ConfigError, match=message.format(file=file)):
        load(tmp_path, text)


def test_a_few_lines_that_stand_for_billions_of_values(tmp_path: Path) -> None:
    levels = [f"- &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 10)]
    with pytest.raises(ConfigError, match=r"seed: must be a whole number, is \[\['x', 'x'"):
        load(tmp_path, "\n".join(["seed:", f"- &l0 [{', '.join('x' * 10)}]", *levels]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold 'key: value' lines, is empty"),
        (b"# nothing\n", "must hold 'key: value' lines, is empty"),
        (b"- 1\n", "must hold 'key: value' lines, is a list"),
        (b"just words", "must hold 'key: value' lines, is a str"),
        (b"seed: 1\nnames: [a\n", "a.yaml, line 3: not valid YAML: "),
        (b"seed: 1\n  rate: 2\n", "a.yaml, line 2: not valid YAML: mapping values are not allowed here"),
        (b"seed: 1\nrate: 0.5\nseed: 2\n", "a.yaml, line 3: not valid YAML: the key 'seed' stands here twice"),
        (b"stack: {layer: {width: 1, width: 2}}\n", "line 1: not valid YAML: the key 'width' stands here twice"),
        (b'seed: 1\nname: "a\\0b"\n', "a.yaml, line 2: not valid YAML: a text must not hold NUL"),
        (b"seed: 1\n---\nseed: 2\n", "not valid YAML: but found another document"),
        (b"seed: !!python/object/apply:os.getcwd []\n", "not valid YAML: could not determine a constructor"),
        (b"seed: 2024-99-99\n", "not valid YAML: month must be in 1..12"),
        (b"names: " + b"[" * 5000, "not valid YAML: "),
        (b"seed: 1\x00\n", "not valid YAML: "),
        (b"name: \xff\xfe\n", "must be UTF-8 text, is not; is this a YAML file?"),
    ],
)
def test_what_is_no_config_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(Example, path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.yaml", "no such file"),
        (".", "must be a YAML file, is a folder"),
        ("file/x.yaml", "cannot be read: Not a dir"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(ConfigError, match=message):
        load_config(Example, tmp_path / name)


def test_yaml_anchors_and_merges_still_work(tmp_path: Path) -> None:
    text = "stack: {layer: &wide {width: 9, kind: gelu}}\nother: {layer: {<<: *wide, width: 8}}\n"
    config = load(tmp_path, text)
    assert config.stack.layer == Layer(width=9, kind="gelu")
    assert config.other == Stack(layer=Layer(width=8, kind="gelu"))


def test_written_yaml_reads_back_to_an_equal_config(tmp_path: Path) -> None:
    config = Example(
        seed=-3, rate=1e-7, output=Path("läufe/ä b: c"), names=("1e3", "no", "null", "[x]", "a\nb", "", "日本"),
        weights={"ü: #": 1e300}, stack=Stack(extra=(Layer(width=2), Layer(kind="gelu"))), limit=3,
    )  # fmt: skip
    assert load(tmp_path, to_yaml(config)) == config
    assert "läufe" in to_yaml(config)


def test_a_config_is_immutable() -> None:
    config = Example()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 2


def test_validate_takes_plain_values() -> None:
    values: dict[str, Any] = {"seed": 3}
    assert validate(Example, values, where="here") == Example(seed=3)
    with pytest.raises(ConfigError, match=r"^here: must be a section"):
        validate(Example, None, where="here")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("widht", ["width", "depth"], "Did you mean 'width'?"),
        ("zzz", ["width", "depth"], "Known: depth, width."),
        ("zzz", [], "None is known here."),
    ],
)
def test_did_you_mean(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known) == hint
