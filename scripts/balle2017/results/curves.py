"""Rate-distortion curves: which rows of a table make one, and what it is called."""

from collections.abc import Iterator

import pandas as pd

from balle2017.names import MODEL_CODEC

#: Columns that name a row of rd.csv: the test set, the curve (three of them), the point on it.
IDENTITY = ["testset", "codec", "filters", "seed", "point"]


def is_model(name: str) -> bool:
    """Tell the curve of trained models from that of another codec."""
    return name.startswith(f"{MODEL_CODEC}-")


def _model_curve(widths: list[int], seed: int) -> str:
    return f"{MODEL_CODEC}-f{'-'.join(map(str, widths))}-s{seed}"


def widths_and_seed(name: str) -> tuple[list[int], int]:
    """Return the numbers of filters, and the seed, in the name of a model's curve."""
    widths, seed = name.removeprefix(f"{MODEL_CODEC}-f").split("-s")
    return [int(width) for width in widths.split("-")], int(seed)


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
        return _model_curve([int(width) for width in own], int(row["seed"]))

    return table.apply(name, axis=1)


def curves(rd: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield test set, name and rows of every curve in rd.csv."""
    for testset, frame in rd.groupby("testset", sort=True):
        names = curve_names(frame)
        for name in names.unique():
            yield testset, name, frame[names == name]
