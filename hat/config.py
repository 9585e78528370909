"""YAML files → checked, frozen config objects.

A config is a pydantic model (:class:`Section`). A YAML file's keys are its field names; a nested section may be
written in place or as the path of another YAML file, relative to the file that names it, so that a search space is
written once and used by every command. ``section.key=value`` overrides come last.
"""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hat.errors import ConfigError, did_you_mean


class Section(BaseModel):
    """Base of every config section: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ModelType = TypeVar("ModelType", bound=BaseModel)


def load_config(schema: type[ModelType], path: str | Path, overrides: Sequence[str] = ()) -> ModelType:
    """Read ``path``, apply ``overrides`` (``"section.key=value"``) and check the result against ``schema``.

    Raises:
        ConfigError: if the file cannot be read, is not a YAML mapping, or breaks a rule of ``schema``. The message
            names the file and the dotted key.
    """
    path = Path(path)
    values = _inline_sections(schema, read_yaml(path), path)
    for override in overrides:
        _apply_override(values, override, schema)
    return validate(schema, values, where=str(path))


def validate(schema: type[ModelType], values: object, where: str) -> ModelType:
    """Check plain ``values`` against ``schema``; ``where`` starts the message of the ConfigError."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {describe_validation_error(schema, error)}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a YAML file.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: must be a YAML file, is a folder.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: must be UTF-8 text, is not; is this a YAML file?") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}.") from None
    if not isinstance(values, dict):
        found = "empty" if values is None else f"a {type(values).__name__}"
        raise ConfigError(f"{path}: must hold 'key: value' lines, is {found}.")
    return values


def to_yaml(config: BaseModel) -> str:
    """The config as YAML text that :func:`load_config` reads back to an equal object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=110, default_flow_style=None)


def describe_validation_error(schema: type[BaseModel], error: ValidationError) -> str:
    """All broken rules in one line: dotted key, what must hold, what it is."""
    return "; ".join(_describe(schema, item) for item in error.errors(include_url=False))


def _describe(schema: type[BaseModel], item: Mapping[str, Any]) -> str:
    location = tuple(item["loc"])
    # Union members and custom validators add tags that are no keys of the file; numbers are list positions.
    key = ".".join(str(part) for part in location if not str(part).startswith(("function-", "tuple[", "constrained-")))
    prefix = f"{key}: " if key else ""
    kind = item["type"]
    if kind == "extra_forbidden":
        parent = _section_at(schema, location[:-1])
        hint = did_you_mean(str(location[-1]), parent.model_fields) if parent is not None else "Remove it."
        return f"{prefix}no such setting. {hint}"
    if kind == "missing":
        return f"{prefix}is required and has no value"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in ("value_error", "assertion_error"):
        return f"{prefix}{message}"
    message = message[0].lower() + message[1:].replace("Input should", "must")
    message = message.replace("input should", "must", 1)
    return f"{prefix}{message}, is {_shorten(item['input'])}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _section_at(schema: type[BaseModel], location: Sequence[object]) -> type[BaseModel] | None:
    """The nested section that ``location`` (names and list positions) leads to."""
    current: type[BaseModel] | None = schema
    for part in location:
        if current is None or isinstance(part, int) or part not in current.model_fields:
            continue
        current = _nested_section(current.model_fields[str(part)].annotation)
    return current


def _nested_section(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as ``Section``, ``Section | None`` or ``tuple[Section, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, list):
        found = [section for arg in get_args(annotation) if (section := _nested_section(arg)) is not None]
        return found[0] if found else None
    return None


def _inline_sections(schema: type[BaseModel], values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Replace every section that is written as a path by the content of that YAML file."""
    result = dict(values)
    for name, field in schema.model_fields.items():
        section = _nested_section(field.annotation)
        value = result.get(name)
        if section is None or value is None:
            continue
        if isinstance(value, str):
            included = path.parent / value
            result[name] = _inline_sections(section, read_yaml(included), included)
        elif isinstance(value, dict):
            result[name] = _inline_sections(section, value, path)
    return result


def _apply_override(values: dict[str, Any], override: str, schema: type[BaseModel]) -> None:
    """Set one ``section.key=value`` in ``values``; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}': an override must look like section.key=value.")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        raise ConfigError(f"'{override}': the value is not valid YAML; put quotes around it.") from None
    *parents, last = key.split(".")
    target = values
    for depth, part in enumerate(parents):
        child = target.setdefault(part, {})
        if child is None:
            child = target[part] = {}
        if not isinstance(child, dict):
            where = ".".join(parents[: depth + 1])
            raise ConfigError(f"'{override}': {where} is a value, not a section.")
        target = child
    section = (
        _nested_section(schema.model_fields[last].annotation) if not parents and last in schema.model_fields else None
    )
    if section is not None and isinstance(value, str):
        value = _inline_sections(section, read_yaml(Path(value)), Path(value))
    target[last] = value
