"""The names of the built-in codecs, for those that need no codec."""

#: The keys of `conventional.CODECS`.
BUILT_IN_CODECS = (
    "jpeg",
    "jpeg_plain",
    "jpeg444",
    "jpeg2000",
    "jpeg2000_plain",
    "webp",
    "avif",
    "jpegxl",
)
