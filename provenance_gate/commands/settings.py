"""Settings of a repository: options that need not be repeated on every command line.

The order is: command line, `PROVENANCE_GATE_*` environment, the nearest `.provenance-gate.yaml` up to the root of the repository,
`[tool.provenance-gate]` of the nearest `pyproject.toml`. Keys are the long names of options without dashes (`fail-on`);
variables are these in upper case with underscores (`PROVENANCE_GATE_FAIL_ON`), one item per line where an option repeats.
A key or variable that no command knows is an error: a misspelled policy would mean another policy.

A settings file comes with the change that is being judged. So it cannot set what makes a failure pass (`exit-zero`), and beside
`--policy-sha256` nothing that decides the outcome (`refuse_loosened`). Outside of a repository only the current folder is looked
at: a file further up may be anybody's. What it has written must lie below its own folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from provenance_gate.commands.places import repository_root
from provenance_gate.errors import UsageError, one_line

Command = TypeVar("Command", bound=Callable[..., Any])

FILE_NAME = ".provenance-gate.yaml"
PYPROJECT = "pyproject.toml"
TABLE = "tool.provenance-gate"
PREFIX = "PROVENANCE_GATE_"
NO_FILE = "none"
MAX_BYTES = 1 << 20

COMMAND_LINE_ONLY = frozenset(
    {"config", "debug", "exit-zero", "help", "output", "policy-sha256", "version", "write-baseline"}
)
"""What a settings file may not set."""
HARMLESS = frozenset(
    {
        *("bom", "bom-version", "checksums", "exact", "format", "jobs", "no-cache", "no-color", "offline", "policy"),
        *("quiet", "report", "reproducible", "verbose", "vsa"),
    }
)
"""All that a settings file may set beside `--policy-sha256`: form and speed. Anything else may move the outcome as the policy
does; a base, a registry or a cache folder can stand in for a model, for example."""
WRITTEN = frozenset({"bom", "cache-dir", "checksums", "report", "vsa"})
"""Where a command writes; from a settings file only inside of that file's folder."""

_META = "provenance_gate.settings"
_HEADER = re.compile(r"^\s*\[\s*tool\s*\.\s*(?:provenance-gate|\"provenance-gate\"|'provenance-gate')\s*\]")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value with its place for messages (``file:line`` or the variable). `folder`: what paths in it start from."""

    value: Any
    place: str
    folder: Path | None


def settings_option(command: Command) -> Command:
    """The option `--config`, and with it settings as defaults of all other options."""
    return click.option(
        "--config",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_apply,
        help=f"Settings file; default: {FILE_NAME} up to the repository's root, or {PYPROJECT}. '{NO_FILE}': no file.",
    )(command)


def refuse_loosened(context: click.Context) -> None:
    """For a run with `--policy-sha256`. Raises UsageError when an option that decides comes from a settings file."""
    settings: Mapping[str, Setting] = context.meta.get(_META, {})
    for key, setting in settings.items():
        used = context.get_parameter_source(_options(context.command)[key].name or "")
        if setting.folder is not None and key not in HARMLESS and used is click.core.ParameterSource.DEFAULT_MAP:
            raise UsageError(
                f"{setting.place}: {key} may not come from a settings file beside --policy-sha256; give it on the command line"
            )


def _apply(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if context.resilient_parsing:
        return
    settings = read_settings(value, Path.cwd(), os.environ, known_keys(context))
    mine = _options(context.command)
    used = {key: setting for key, setting in settings.items() if key in mine}
    context.meta[_META] = used
    defaults = {mine[key].name: _converted(mine[key], key, setting, context) for key, setting in used.items()}
    context.default_map = {**(context.default_map or {}), **{k: v for k, v in defaults.items() if k is not None}}


def read_settings(
    config: str | None, start: Path, environment: Mapping[str, str], known: Iterable[str]
) -> dict[str, Setting]:
    """All settings by key, the environment's over the file's. Empty variables say nothing.

    Parameters
    ----------
    config
        A settings file, ``none`` for no file, or None: the variable `PROVENANCE_GATE_CONFIG`, else the one that is found.
    known
        The keys that some command knows.

    Raises
    ------
    UsageError
        An unknown key, one that a file may not set, or a file that cannot be read; with file and line.
    """
    known = frozenset(known)
    variables = {_key(name): name for name in sorted(environment) if name.startswith(PREFIX) and environment[name]}
    for key, name in variables.items():
        if key not in known - {"help", "version"}:
            raise UsageError(f"environment variable {one_line(name, 80)}: no such option{_choices(key, known)}")
    config = config or environment.get(f"{PREFIX}CONFIG") or None
    settings = _from_file(config, start, known)
    for key, name in variables.items():
        settings[key] = Setting(environment[name], f"environment variable {name}", None)
    settings.pop("config", None)
    return settings


def known_keys(context: click.Context) -> frozenset[str]:
    """The long option names of every command of the program."""
    keys: set[str] = set()
    commands = [context.find_root().command, context.command]
    while commands:
        command = commands.pop()
        keys |= set(_options(command))
        if isinstance(command, click.Group):
            commands += command.commands.values()
    return frozenset(keys)


def _options(command: click.Command) -> dict[str, click.Option]:
    return {
        name.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }


def _from_file(config: str | None, start: Path, known: frozenset[str]) -> dict[str, Setting]:
    if config == NO_FILE:
        return {}
    if config is not None:
        path = Path(config)
        return (_toml_settings(path, known) or {}) if path.suffix == ".toml" else _yaml_settings(path, known)
    root = repository_root(start)
    start = start.resolve()
    folders = [
        f for f in (start, *start.parents) if f == start or (root is not None and (f == root or root in f.parents))
    ]
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            return _yaml_settings(_shown(folder / FILE_NAME, start), known)
    for folder in folders:
        if (folder / PYPROJECT).is_file():
            found = _toml_settings(_shown(folder / PYPROJECT, start), known)
            if found is not None:
                return found
    return {}


def _shown(path: Path, start: Path) -> Path:
    """As a person in `start` would write it: paths of settings enter reports, which must not name the machine's folders."""
    return Path(os.path.relpath(path, start)) if Path.cwd() == start else path


def _yaml_settings(path: Path, known: frozenset[str]) -> dict[str, Setting]:
    from provenance_gate.artifact.yamlfile import YamlError, load_yaml

    name = one_line(str(path))
    try:
        root = load_yaml(_text(path), name)
    except YamlError as error:
        raise UsageError(str(error)) from error
    if root.value is None:
        return {}
    if not isinstance(root.value, Mapping):
        raise UsageError(f"{name}:{root.line}: expected a mapping of options")
    pairs = [(key, node.to_plain(), node.key_line) for key, node in root.value.items()]
    return _checked(pairs, name, path, known)


def _toml_settings(path: Path, known: frozenset[str]) -> dict[str, Setting] | None:
    """None when the file has no table for us; then it need not even be valid."""
    name, text = one_line(str(path)), _text(path)
    lines = text.splitlines()
    header = next((n for n, line in enumerate(lines, start=1) if _HEADER.match(line)), None)
    if header is None:
        return None
    try:
        tomllib = import_module("tomllib")
    except ImportError as error:
        raise UsageError(f"{name}:{header}: [{TABLE}] needs Python 3.11; use {FILE_NAME}") from error
    try:
        table = tomllib.loads(text).get("tool", {}).get("provenance-gate", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{name}: not valid TOML: {error}") from error
    # The parser keeps no lines.
    return _checked([(key, value, _line_of(key, lines, header)) for key, value in table.items()], name, path, known)


def _line_of(key: str, lines: Sequence[str], header: int) -> int:
    start = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    return next((n for n, line in enumerate(lines, start=1) if n > header and start.match(line)), header)


def _checked(pairs: Iterable[tuple[str, Any, int]], name: str, path: Path, known: frozenset[str]) -> dict[str, Setting]:
    settings = {}
    for key, value, line in pairs:
        if key not in known:
            raise UsageError(
                f"{name}:{line}: unknown key {one_line(key, 60)!r}{_choices(key, known - COMMAND_LINE_ONLY)}"
            )
        if key in COMMAND_LINE_ONLY:
            raise UsageError(f"{name}:{line}: {key} may not be set in a file; give it on the command line")
        settings[key] = Setting(value, f"{name}:{line}", path.parent)
    return settings


def _text(path: Path) -> str:
    name = one_line(str(path))
    try:
        if not path.is_file():
            raise UsageError(f"{name}: no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{name}: more than {MAX_BYTES} bytes")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 at byte {error.start}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _converted(option: click.Option, key: str, setting: Setting, context: click.Context) -> Any:
    """The value as click takes a default; checked here, where the place is known."""
    value = setting.value
    if setting.folder is None:
        if option.multiple:
            value = [line for line in value.splitlines() if line.strip()]
    else:
        value = _typed(option, key, setting)
    try:
        option.type_cast_value(context, value)
    except click.BadParameter as error:
        raise UsageError(f"{setting.place}: {key}: {one_line(error.message)}") from error
    return value


def _typed(option: click.Option, key: str, setting: Setting) -> Any:
    values = setting.value if isinstance(setting.value, list) else [setting.value]
    if isinstance(setting.value, list) and not option.multiple:
        raise UsageError(f"{setting.place}: {key}: expected one value, found a list")
    wanted: type = bool if option.is_flag else int if isinstance(option.type, click.types.IntParamType) else str
    for value in values:
        if type(value) is not wanted:
            word = {bool: "true or false", int: "an integer", str: "a string (in quotes)"}[wanted]
            raise UsageError(f"{setting.place}: {key}: expected {word}, found {one_line(repr(value), 60)}")
    if wanted is str:
        values = [_from_folder(option, key, value, setting) for value in values]
    return values if option.multiple else values[0]


def _from_folder(option: click.Option, key: str, text: str, setting: Setting) -> str:
    """A path in a settings file starts from the file's folder, wherever the command runs."""
    folder = setting.folder or Path()
    name, separator, path = text.partition("=") if key == "report" else ("", "", text)
    if key in WRITTEN and path:
        inside = folder.resolve()
        if inside not in (folder / path).resolve().parents:
            raise UsageError(
                f"{setting.place}: {key}: {one_line(path, 80)!r} is not below the folder of the settings file"
            )
        return f"{name}{separator}{folder / path}"
    if key in ("base", "registry"):
        name, separator, path = text.rpartition("=")
        # A place on a hub looks like a relative path; a local path that exists wins, as on the command line.
        return f"{name}{separator}{folder / path}" if path and (folder / path).exists() else text
    if (key == "policy" and not text.startswith("builtin:")) or isinstance(option.type, click.Path):
        return str(folder / text)
    return text


def _key(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower().replace("_", "-")


def _choices(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    accepted = sorted(known)
    close = get_close_matches(word, accepted, n=1, cutoff=0.6)
    return (f" (did you mean {close[0]!r}?)" if close else "") + f"; known: {', '.join(accepted)}"
