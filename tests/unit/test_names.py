import pytest
from balle2017.errors import InputError
from balle2017.names import lambda_name, model_families, model_name


def config(num_filters, lambdas=(0.01, 0.02), seeds=(1,)):
    return {
        "lambdas": list(lambdas),
        "seeds": list(seeds),
        "model": {"num_filters": num_filters},
    }


@pytest.mark.parametrize(
    ("value", "name"),
    [(0.01, "0.0100"), (0.0932, "0.0932"), (1e-05, "0.00001"), (0.00325, "0.00325"), (2, "2.0000")],
)
def test_lambda_names(value, name):
    assert lambda_name(value) == name
    assert float(name) == value


def test_model_name():
    assert model_name(0.013, 128, 1) == "0.0130-f128-s1"


def test_a_grid_has_a_family_for_each_seed_and_width():
    assert model_families(config([8, 16], seeds=(3, 4))) == [
        ["0.0100-f8-s3", "0.0200-f8-s3"],
        ["0.0100-f16-s3", "0.0200-f16-s3"],
        ["0.0100-f8-s4", "0.0200-f8-s4"],
        ["0.0100-f16-s4", "0.0200-f16-s4"],
    ]


@pytest.mark.parametrize(
    "widths",
    [{"0.01": 8, "0.020": 16}, {"default": 8, "0.02": 16}, {"0.5": 1, "1e-2": 8, "0.02": 16}],
)
def test_a_map_of_widths_makes_one_family(widths):
    assert model_families(config(widths)) == [["0.0100-f8-s1", "0.0200-f16-s1"]]


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"0.01": 8}, "has no value for lambda 0.0200; add it, or a default"),
        ({"wide": 8}, "has the key wide, which is neither a lambda nor default"),
        ({"0.01": 8, "0.02": 8, "1e-2": 16}, "has lambda 0.0100 twice; remove one"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(widths, message):
    with pytest.raises(InputError, match=message):
        model_families(config(widths))
