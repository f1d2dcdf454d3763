"""Errors that a person can act on; those that end a program have its exit status."""


class InputError(Exception):
    """Wrong usage or unusable input; no result was written (exit 2)."""

    exit_status = 2


class WorkError(Exception):
    """The work, or some of its items, failed (exit 1)."""

    exit_status = 1


class DivergedError(WorkError):
    """Training met a number that is not finite, and would meet it again."""


class Interrupted(Exception):  # noqa: N818 - an interruption is not an error
    """Stopped on request after a checkpoint; run again to go on (exit 3)."""

    exit_status = 3


class CodecLimitError(Exception):
    """A codec cannot hold one picture; the message says why."""


class DamagedFileError(Exception):
    """A file fails its own checksum or structure; the message says how."""

    exit_status = 2
