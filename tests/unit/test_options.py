"""Flags, defaults and bounds come from one class."""

from dataclasses import dataclass

import pytest
from balle2017 import cli, options
from balle2017.errors import InputError


@dataclass(frozen=True)
class Cake:
    """A class with an option of every kind."""

    folder: str
    eggs: int = options.option(3, "how many", min=1, max=9)
    sugar: float | None = options.option(None, "grams (default: to taste)", above=0, below=500)
    tins: int = options.option(4, "in pairs", multiple=2)
    iced: bool = options.option(True, "with icing")
    kind: str = options.option("plum", "which", choices=("plum", "nut"))
    heat: tuple[float, float] | None = options.option(None, "from, to", min=0, metavar=("A", "B"))
    turns: tuple[int, ...] = options.option((), "minutes", min=1)

    def __post_init__(self) -> None:
        options.check(self)


def parse(*words: str) -> Cake:
    parser = cli.Parser("Bake.")
    options.add_arguments(parser, Cake, "cake")
    return options.from_arguments(Cake, parser.parse_args(words), folder="oven")


def test_without_flags_there_are_the_defaults():
    assert parse() == Cake("oven")


def test_flags_set_what_they_name():
    words = "--eggs 5 --sugar 1.5 --tins 2 --no-iced --kind nut --heat 150 1e2 --turns 1 2 3"
    assert parse(*words.split()) == Cake("oven", 5, 1.5, 2, False, "nut", (150, 100), (1, 2, 3))
    assert parse("--sugar", "none") == Cake("oven")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--eggs 0", "eggs is 0; it must be at least 1"),
        ("--eggs 10", "eggs is 10; it must be at most 9"),
        ("--sugar 0", "sugar is 0.0; it must be more than 0"),
        ("--sugar 500", "sugar is 500.0; it must be less than 500"),
        ("--sugar nan", "sugar is nan; it must be finite"),
        ("--tins 3", "tins is 3; it must be a multiple of 2"),
        ("--heat 5 -1", "heat is 5.0 -1.0; it must be at least 0"),
        ("--heat inf 1", "heat is inf 1.0; it must be finite"),
        ("--turns 3 0", "turns is 3 0; it must be at least 1"),
    ],
)
def test_a_value_out_of_its_range_is_named(words, message):
    with pytest.raises(InputError) as error:
        parse(*words.split())
    assert str(error.value) == message


@pytest.mark.parametrize("words", ["--folder x", "--eggs many", "--heat 5", "--kind fish"])
def test_what_is_no_such_flag_is_refused(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(*words.split())
    assert stopped.value.code == 2
    assert "error" in capsys.readouterr().err


def test_none_is_refused_where_a_value_must_be():
    with pytest.raises(InputError, match="eggs must be given"):
        Cake("oven", eggs=None)
    with pytest.raises(InputError, match="kind is 'fish'; it must be one of plum, nut"):
        Cake("oven", kind="fish")


def test_help_shows_the_defaults_that_there_are():
    parser = cli.Parser("Bake.")
    parser.add_argument("--out", required=True, help="plate")
    parser.add_argument("--guests", nargs="+", default=[], help="names")
    parser.add_argument("--note", default="", help="to read")
    parser.add_argument("--overwrite", action="store_true", help="an older cake")
    parser.add_argument("--candles", type=int, default=0, help="on top")
    options.add_arguments(parser, Cake, "cake")
    lines = [" ".join(line.split()) for line in parser.format_help().splitlines()]
    for line in [
        "--out OUT plate",
        "--note NOTE to read",
        "--overwrite an older cake",
        "--candles CANDLES on top (default: 0)",
        "--eggs N how many (default: 3)",
        "--iced, --no-iced with icing (default: True)",
        "--heat A B from, to",
        "--sugar F grams (default: to taste)",
    ]:
        assert line in lines
    text = " ".join(lines)
    assert "[GUESTS ...] names --note" in text
    assert "[N ...] minutes" in text
    assert text.count("default:") == 6
