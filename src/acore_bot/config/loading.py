"""Loads the settings: finds the file, gathers all sources, and says everything that is wrong."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from acore_bot.config import faults
from acore_bot.config.files import find_file, permission_warning
from acore_bot.config.masking import masked
from acore_bot.config.settings import Sections, Settings
from acore_bot.config.sources import Gathered, gather
from acore_bot.errors import ConfigurationError

_NOTHING: Mapping[str, object] = MappingProxyType({})


def load(
    path: Path | None = None,
    overrides: Mapping[str, object] = _NOTHING,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings in force. `overrides` are dotted keys of the command line, such as
    {"chat.model": "ollama/llama3.2"}; None among them is a flag that was not given.

    Raises `ConfigurationError` whose sentence has one line for each fault.
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    gathered = gather(file, overrides, environ)
    sections = _validated(gathered)
    warning = permission_warning(file, _secrets_in_file(gathered)) if file else ""
    return Settings(
        **{name: getattr(sections, name) for name in Sections.model_fields},
        file=file,
        warnings=(warning,) if warning else (),
    )


def _validated(gathered: Gathered) -> Sections:
    lines = [faults.clash(given, above, gathered) for given, above in gathered.clashes]
    try:
        sections = Sections.model_validate(gathered.tree)
    except ValidationError as error:
        lines += faults.sentences(error, gathered)
    else:
        lines += faults.unknown_provider(gathered)
        if not lines:
            return sections
    # Raised out here, so that the validator's error and the values in it hang on nothing.
    raise ConfigurationError("\n".join(lines))


def _secrets_in_file(gathered: Gathered) -> list[tuple[str, ...]]:
    """Name the keys that would be masked, though a stronger source may overrule them."""
    leaves = ((faults.own_name(given.path), given) for given in gathered.in_file)
    return [given.path for name, given in leaves if masked(name, given.value) != given.value]
