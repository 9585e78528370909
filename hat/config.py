"""YAML files → checked, frozen config objects.

A config is a pydantic model (:class:`Section`). A YAML file's keys are its field names; a nested section may be
written in place or as the path of another YAML file, relative to the file that names it, so that a search space is
written once and used by every command. ``section.key=value`` overrides come last.
"""

import json
import math
import reprlib
import types
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hat.errors import ConfigError, did_you_mean


class Section(BaseModel):
    """Base of every config section: immutable; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


Threads = Annotated[int, Field(gt=0, le=1024)]
"""A number of CPU threads. The system ends a process that asks for far more than it can have, without a word."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed that every generator of random numbers takes."""

ModelType = TypeVar("ModelType", bound=BaseModel)


def load_config(schema: type[ModelType], path: str | Path | None, overrides: Sequence[str] = ()) -> ModelType:
    """Read ``path``, apply ``overrides`` (``"section.key=value"``) and check the result against ``schema``.

    Without a path, the overrides are all there is.

    Raises:
        ConfigError: if the file cannot be read, is not a YAML mapping, or breaks a rule of ``schema``. The message
            names the file and the dotted key.
    """
    values = {} if path is None else _inline_sections(schema, read_yaml(Path(path)), Path(path))
    for override in overrides:
        _apply_override(values, override, schema)
    return validate(schema, values, where="settings" if path is None else str(path))


def override_of(key: str, value: object) -> str:
    """The override that sets ``key`` to exactly ``value``, whatever characters a text has."""
    if isinstance(value, str):  # YAML escapes what JSON's pairs of surrogates would not bring back
        quoted = yaml.safe_dump(value, default_style='"', width=math.inf)
        return f"{key}={quoted.strip()}"
    return f"{key}={json.dumps(value)}"


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
        values = _parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}.") from None
    if not isinstance(values, dict):
        found = "empty" if values is None else f"a {type(values).__name__}"
        raise ConfigError(f"{path}: must hold 'key: value' lines, is {found}.")
    return values


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, less what would be lost or break later.

    A key written twice is an error, since the first value would be lost; so is the character NUL, which no name of a
    file can hold.
    """

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and "\0" in value:
            raise yaml.constructor.ConstructorError(None, None, "a text must not hold NUL", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else key_node
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str) -> Any:
    loader = _StrictLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def to_yaml(config: BaseModel) -> str:
    """The config as YAML text that :func:`load_config` reads back to an equal object."""
    return yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, width=110, default_flow_style=None, allow_unicode=True
    )


def describe_validation_error(schema: type[BaseModel], error: ValidationError) -> str:
    """All broken rules in one line: dotted key, what must hold, what it is."""
    problems: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        key = _key(schema, item)
        problem, value = _describe(schema, item)
        if problem is not None and problem not in problems.setdefault(key, []):
            problems[key].append(problem)
            found[key] = value
    # Several problems of one key: the value fits none of the types that the field may have.
    return "; ".join(
        f"{key}{': ' if key else ''}{' or '.join(texts)}{found[key]}" for key, texts in problems.items() if texts
    )


def _key(schema: type[BaseModel], item: Mapping[str, Any]) -> str:
    """The dotted key an error is about: field names, list positions and unknown keys, without pydantic's own tags."""
    location = item["loc"]
    parts: list[str] = []
    section: type[BaseModel] | None = schema
    free = False  # inside a mapping whose keys are the user's
    for index, part in enumerate(location):
        unknown = index == len(location) - 1 and item["type"] in ("extra_forbidden", "invalid_key")
        if section is not None and part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            section, free = _nested_section(annotation), _holds_mapping(annotation)
        elif not (isinstance(part, int) or free or unknown):
            continue  # names a member of a union or a validator
        parts.append(str(part))
    return ".".join(parts)


def _describe(schema: type[BaseModel], item: Mapping[str, Any]) -> tuple[str | None, str]:
    """What must hold and ``, is <value>``; None for a problem that only follows from another one."""
    kind, value = item["type"], f", is {shorten(item['input'])}"
    if kind == "extra_forbidden":
        location = item["loc"]
        parent = _section_at(schema, location[:-1])
        hint = did_you_mean(str(location[-1]), parent.model_fields) if parent is not None else "Remove it."
        return f"no such setting. {hint}", ""
    if kind == "missing":
        return "is required and has no value", ""
    if kind in ("value_error", "assertion_error"):
        return item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, "), ""
    if kind in ("model_type", "model_attributes_type", "dict_type", "dataclass_type"):
        return "must be a section of 'key: value' lines", value
    if kind in ("tuple_type", "list_type", "set_type"):
        return "must be a list", value
    if kind in ("int_type", "int_parsing", "int_from_float"):
        return "must be a whole number", value
    if kind in ("path_type", "string_type"):
        return "must be text (a number or true, false, null in quotes)", value
    if kind == "too_short":
        least = item["ctx"]["min_length"]
        given = item["input"]
        return (None if len(given) >= least else f"must hold {least} or more items"), value
    message = item["msg"][0].lower() + item["msg"][1:]
    return message.replace("input should", "must", 1), value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def first_difference(
    before: Mapping[str, Any], now: Mapping[str, Any], leave_out: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
    """The first value that two nested mappings do not have in common; None if there is none.

    Args:
        before: the one.
        now: the other; its order decides which is the first.
        leave_out: dotted keys that may differ.

    Returns:
        The dotted key, and what it is in each; None where it is not there.
    """
    then, after = flatten(before), flatten(now)
    for key in {**after, **then}:
        if key not in leave_out and then.get(key) != after.get(key):
            return key, then.get(key), after.get(key)
    return None


def shorten(value: object) -> str:
    """A value of the user's as it looks in a config, cut where it is long, for an error message."""
    brief = reprlib.Repr()  # bounded: a few lines of YAML can stand for a list of billions
    brief.maxlevel, brief.maxlist, brief.maxtuple, brief.maxdict, brief.maxstring = 3, 20, 20, 20, 1000
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else brief.repr(value)
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


def _holds_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(_holds_mapping(arg) for arg in get_args(annotation))


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
        value = _parse_yaml(text) if text else None
    except (yaml.YAMLError, ValueError, RecursionError):
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
    parent = _section_at(schema, parents)
    field = parent.model_fields.get(last) if parent is not None else None
    section = _nested_section(field.annotation) if field is not None else None
    if section is not None and isinstance(value, str):
        value = _inline_sections(section, read_yaml(Path(value)), Path(value))
    target[last] = value
