"""The external codecs of the config, see `evaluation.external`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle2017.errors import InputError
from balle2017.pipeline.experiment import flags
from balle2017.pipeline.sources import OUTPUT_FOLDERS
from balle2017.results.external import ExternalCodec, command_words


def external_codecs(config: Mapping[str, Any], on_this_machine: bool) -> dict[str, ExternalCodec]:
    """Return the external codecs of a config by name, after checking them.

    Args:
        config: checked against the schema, with its defaults.
        on_this_machine: also check that the programs are here.

    Raises:
        InputError: the name is taken, a command cannot work, or a program is missing.
    """
    codecs = {}
    for name, part in config["evaluation"]["external"].items():
        where = f"config: evaluation.external.{name}"
        try:
            codec = ExternalCodec(
                name=name,
                encode_command=command_words(part["encode"]),
                decode_command=command_words(part["decode"]),
                suffix=part["suffix"],
                version_command=command_words(part["version"]) if part["version"] else [],
                decoded_suffix=part["decoded_suffix"],
                time_limit_s=part["time_limit_s"],
            )
            codec.check(part["qualities"])
            if on_this_machine:
                codec.check_programs()
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        codecs[name] = codec
    return codecs


def files_of(codec: ExternalCodec) -> list[Path]:
    """Return the files and folders that a codec depends on, as far as its commands name them."""
    found = map(Path, codec.files())
    return [
        path
        for path in found
        if not (path.is_dir() and any(map(path.is_relative_to, OUTPUT_FOLDERS)))
    ]


def evaluation_flags(codec: ExternalCodec, qualities: list[float]) -> str:
    """Return the flags of scripts/evaluate_external.py for one codec."""
    version = shlex.join(codec.version_command)
    return flags(
        {
            "encode": shlex.join(codec.encode_command),
            "decode": shlex.join(codec.decode_command),
            "version_command": version or None,
            "suffix": codec.suffix,
            "decoded_suffix": codec.decoded_suffix,
            "quality": qualities,
            "time_limit_s": codec.time_limit_s,
        }
    )
