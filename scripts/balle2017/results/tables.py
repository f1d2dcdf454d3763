"""Tables of results: read and written without loss, and the curves that their rows form."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from balle2017.errors import InputError
from balle2017.files import write_bytes
from balle2017.names import MODEL_CODECS

#: Columns of whole numbers that may be empty.
_WHOLE = ("filters", "seed", "n_images", "bytes")
#: Columns of text. A test set may be called null, NA, True, 1e5 or 007.
TEXT = (
    "testset",
    "codec",
    "image",
    "pixel_hash",
    "file_sha256",
    "decoded_sha256",
    "encoder",
    "note",
    "lacking",
    "anchor",
    "metric",
    "reason",
    "published",
    "curve",
    "label",
    "source",
)

_LEAST = 1e-100
_LARGEST = 1e100
_DECIBELS = (-1e-6, 1000, "from 0 to 1000 dB")
_RATE = (0, 1e9, "from 0 to 1e9")
_SECONDS = (0, 1e9, "from 0 to 1e9 seconds")
_DIFFERENCE = (-1000, 1000, "from -1000 to 1000 dB")
# What can be measured, by column: lowest, highest, and both in words. Rounding may exceed an end.
_LIMITS: dict[str, tuple[float, float, str]] = {
    "bpp": (_LEAST, 1e9, "more than 0 and at most 1e9"),
    "bpp_payload": _RATE,
    "bpp_estimated": _RATE,
    "psnr_rgb": _DECIBELS,
    "psnr_y": _DECIBELS,
    "ms_ssim_rgb": (0, 1 + 1e-6, "from 0 to 1, and not in dB"),
    "ms_ssim_rgb_db": _DECIBELS,
    "encode_s": _SECONDS,
    "decode_s": _SECONDS,
    "val_loss": (_LEAST, _LARGEST, "more than 0, and finite"),
    "bd_rate_percent": (-100, _LARGEST, "a finite number from -100"),
    "bd_quality_db": _DIFFERENCE,
    "overlap_low": _DIFFERENCE,
    "overlap_high": _DIFFERENCE,
}


def limits(column: str) -> tuple[float, float, str]:
    """Return the lowest and the highest number that a column can have, and both in words."""
    return _LIMITS.get(column, (-_LARGEST, _LARGEST, "a finite number"))


def check_numbers(
    path: Path, table: pd.DataFrame, columns: Iterable[str], filled: Sequence[str] = ()
) -> None:
    """Check that what some columns of a table hold, where they are not empty, is in its `limits`.

    Args:
        path: the file that the table is from.
        table: with these columns.
        columns: to check.
        filled: those that may not be empty.

    Raises:
        InputError: a value cannot be measured. The message names its codec, image or line.
    """
    for column in columns:
        low, high, allowed = limits(column)
        # As text True is no number.
        numbers = pd.to_numeric(table[column].astype(str), errors="coerce")
        wrong = ~numbers.between(low, high) & (table[column].notna() | (column in filled))
        if wrong.any():
            row = table.loc[wrong.idxmax()]
            names = [str(row[name]) for name in ("codec", "image") if name in table]
            where = " of ".join(reversed(names)) or f"row {wrong.idxmax() + 1}"
            raise InputError(
                f"{path}: {where} has the {column} {row[column]}; it must be {allowed}"
            )


def read_frame(
    path: Path, columns: Iterable[str], what: str, key: Sequence[str] = (), comments: bool = False
) -> pd.DataFrame:
    """Read a CSV file with at least some columns.

    Text is kept as it is written. An empty cell is an empty text.

    Args:
        path: the file.
        columns: that it must have.
        what: the kind of table, in words, for the message.
        key: columns that tell its rows apart.
        comments: pass over lines that begin with #.

    Raises:
        InputError: it does not exist, is another table, or has a row that is longer than its
            header, or two rows of one key.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            content = file.read()
        if comments:
            # Empty lines are passed over, and messages count them.
            content = re.sub(r"(?m)^#[^\r\n]*", "", content)
        # By default pandas reads numbers of 15 digits and more with another last bit.
        text = dict.fromkeys(TEXT, str)
        frame = pd.read_csv(io.StringIO(content), float_precision="round_trip", converters=text)
        if not isinstance(frame.index, pd.RangeIndex):
            # pandas would take the first columns for names of rows. It refuses later longer rows.
            raise ValueError("its first row has more cells than its header")
        # pandas counts True as 1.
        frame = frame.astype(dict.fromkeys(frame.select_dtypes(bool), str))
        for column in frame.columns.intersection(_WHOLE):
            numbers = pd.to_numeric(frame[column], errors="coerce")
            whole = (numbers % 1 == 0) & numbers.between(0, 2**53)
            if not (whole | frame[column].isna()).all():
                raise ValueError(f"{column} has a value that is no whole number from 0 to 2^53")
            frame[column] = frame[column].astype("Int64")
    except FileNotFoundError:
        raise InputError(f"table {path} does not exist") from None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a {what}: {str(error).strip()}") from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(f"{path} is not a {what}: it lacks {', '.join(missing)}")
    for column in columns:
        if len(frame) and column not in TEXT and not pd.api.types.is_numeric_dtype(frame[column]):
            raise InputError(f"{path} is not a {what}: {column} has values that are not numbers")
    if key and (twice := frame.duplicated(list(key))).any():
        row = frame.loc[twice.idxmax(), list(key)]
        name = ", ".join(f"{column} {value}" for column, value in row.items() if pd.notna(value))
        raise InputError(f"{path} has two rows for {name}; remove one of them")
    return frame


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, atomically."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    write_bytes(path, buffer.getvalue().encode())


#: Columns that name a row of rd.csv: the test set, the curve (three of them), the point on it.
IDENTITY = ["testset", "codec", "filters", "seed", "point"]


_MODEL_CURVE = re.compile(rf"({'|'.join(MODEL_CODECS)})(-f\d+(-\d+)*(-s\d+)?)?")


def is_model(name: str) -> bool:
    """Tell whether a name is that of a curve of trained models."""
    return _MODEL_CURVE.fullmatch(name) is not None


def refined_and_adaptive(name: str) -> tuple[bool, bool]:
    """Tell whether a curve of trained models has refined latents, and the adaptive coder."""
    return MODEL_CODECS[name.partition("-")[0]]


def _model_curve(codec: str, widths: list[int], seed: int) -> str:
    return f"{codec}-f{'-'.join(map(str, widths))}-s{seed}"


def widths_and_seed(name: str) -> tuple[list[int], int | None]:
    """Return the numbers of filters in the name of a model's curve, and the seed if it has one."""
    widths, _, seed = name.partition("-f")[2].partition("-s")
    return [int(width) for width in widths.split("-")], int(seed) if seed else None


def curve_names(table: pd.DataFrame) -> pd.Series:
    """Return the name of the curve that each row of rd.csv, or of per_image.csv, belongs to.

    The models of one seed make one curve if every lambda has one width, as in
    balle2017-f128-192-s1; otherwise one for each width.
    """
    family = ["testset", "codec", "seed"]
    models = table[table["filters"].notna()]
    widths = {key: sorted(group.unique()) for key, group in models.groupby(family)["filters"]}
    of_lambda = models.groupby([*family, "point"])["filters"].nunique()
    shared = {key for key, most in of_lambda.groupby(family).max().items() if most > 1}

    def name(row: pd.Series) -> str:
        if pd.isna(row["filters"]):
            return row["codec"]
        key = tuple(row[family])
        own = [row["filters"]] if key in shared else widths[key]
        return _model_curve(row["codec"], [int(width) for width in own], int(row["seed"]))

    return table.apply(name, axis=1)


def curves(rd: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield test set, name and rows of every curve in rd.csv."""
    for testset, frame in rd.groupby("testset", sort=True):
        names = curve_names(frame)
        for name in names.unique():
            yield testset, name, frame[names == name]


def choose_testset(table: pd.DataFrame, testset: str | None) -> pd.DataFrame:
    """Return the rows of one test set.

    Raises:
        InputError: no row for that test set, or several test sets and none chosen.
    """
    available = sorted(table["testset"].unique())
    if testset is None and len(available) == 1:
        testset = available[0]
    if testset not in available:
        raise InputError(
            f"choose a test set with --testset: {', '.join(available) or 'none there'}"
        )
    return table[table["testset"] == testset]


def count_text(rd: pd.DataFrame) -> str:
    """Return how many images the means of a table are over: "24 images", or "22 to 24 images"."""
    counts = rd.loc[rd["n_images"].fillna(0) > 0, "n_images"]
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    count = f"{high}" if low == high else f"{low} to {high}"
    return f"{count} image{'' if count == '1' else 's'}"


def lacking(table: pd.DataFrame) -> pd.Series:
    """Return the images that the means of each row lack; "" where the table names none.

    Tables of version 0.1.0, and those of published curves, have no such column.
    """
    if "lacking" not in table:
        return pd.Series("", table.index)
    return table["lacking"].fillna("")


def lacking_texts(rd: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield test set and name of each curve that lacks images, and in words which and where."""
    for testset, name, curve in curves(rd):
        points = curve.groupby(lacking(curve))["point"].size().drop("", errors="ignore")
        for images, count in points.items():
            yield testset, name, f"lacks {images} at {count} of its {len(curve)} points"
