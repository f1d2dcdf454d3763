"""Why a file of a source is not used: a code with details.

Program code compares the code; the sentence is made only where somebody reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from balle2017.errors import InputError


class Status(StrEnum):
    """What became of a file; the values are those of `status` in a manifest."""

    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    REJECTED = "rejected"


class Reason(Enum):
    """The codes, each with its status in the manifest, a heading for counts, and a sentence.

    The sentence names details in braces; if it is left out, it is the heading. Files that
    were not looked at are skipped, and images that cannot be used are rejected.
    """

    # Not images, or images that are there already.
    HIDDEN = Status.SKIPPED, "hidden file"
    NOT_AN_IMAGE = Status.SKIPPED, "not an image"
    DUPLICATE = Status.SKIPPED, "duplicate", "duplicate of {name}"
    NOT_SAMPLED = Status.SKIPPED, "not sampled"

    # Files that were not opened.
    NOT_REGULAR = Status.SKIPPED, "not a regular file"
    OUTSIDE_LINK = Status.SKIPPED, "a link to a file outside the folder"
    NOT_READABLE = Status.SKIPPED, "not readable"
    ENCRYPTED = Status.SKIPPED, "encrypted"
    DAMAGED_MEMBER = Status.SKIPPED, "damaged", "damaged: {problem}"
    DAMAGED_ARCHIVE = Status.SKIPPED, "damaged archive", "damaged archive: {problem}"
    COMPRESSION = (
        Status.SKIPPED,
        "compression method not supported",
        "compression method not supported: {method}",
    )
    SPARSE = (
        Status.SKIPPED,
        "sparse file of a tar",
        "sparse file of a tar; pack it without --sparse",
    )
    UNREAD_ARCHIVE = (
        Status.SKIPPED,
        "archive format not supported",
        "archive format not supported: {format}; unpack it",
    )
    LARGE_FILE = Status.SKIPPED, "file too large", "larger than {limit} bytes"
    DEEP_ARCHIVE = (
        Status.SKIPPED,
        "archives nested too deeply",
        "archives nested more than {limit} levels deep",
    )

    # Images that cannot be used.
    OPEN_FAILED = Status.REJECTED, "cannot be opened", "{problem}"
    UNREAD_FORMAT = (
        Status.REJECTED,
        "image format not supported",
        "image format not supported: {format}; convert it, for example to PNG",
    )
    MISNAMED = Status.REJECTED, "not an image, though named like one"
    TRUNCATED = Status.REJECTED, "truncated", "truncated: {problem}"
    DAMAGED_IMAGE = Status.REJECTED, "damaged image", "damaged image: {problem}"
    UNKNOWN_RANGE = (
        Status.REJECTED,
        "signed, 32-bit or float samples of unknown range",
    )
    UNREAD_KIND = (
        Status.REJECTED,
        "kind of image not supported",
        "kind of image not supported: {kind}",
    )
    OVER_LIMITS = (
        Status.REJECTED,
        "over the decoding limits",
        "over the decoding limits: more than {limit}",
    )
    OVER_PIXEL_LIMIT = (
        Status.REJECTED,
        "over the pixel limit",
        "over the pixel limit: {width}x{height} is more than {max_pixels} pixels",
    )
    LONG_SIDE = (
        Status.REJECTED,
        "too large",
        "{width}x{height} is too large: at most {max_side} pixels a side",
    )
    BELOW_MIN_SIZE = (
        Status.REJECTED,
        "smaller than min_size",
        "smaller than min_size ({min_size}): {width}x{height}",
    )
    SATURATED = Status.REJECTED, "saturated", "saturated: {share:.0%} of the samples"
    FLAT = Status.REJECTED, "flat", "flat: standard deviation {deviation:.1f}"

    def __init__(self, status: Status, heading: str, sentence: str = ""):
        """Take apart the tuple of a member."""
        self.status = status
        self.heading = heading
        self.sentence = sentence or heading


@dataclass(frozen=True)
class Refusal:
    """Why one file is not used: the code, and the details that its sentence names."""

    reason: Reason
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.reason.sentence.format_map(self.details)


class BadImageError(InputError):
    """One picture cannot be used.

    Attributes:
        refusal: why.
    """

    def __init__(self, refusal: Refusal, where: object = ""):
        """Begin the message with `where`, the file's name, if it is given."""
        self.refusal = refusal
        super().__init__(f"{where}: {refusal}" if where else str(refusal))


def refuse(reason: Reason, **details: Any) -> BadImageError:
    """Return the error for an image that cannot be used; the caller raises it."""
    return BadImageError(Refusal(reason, details))
