from pathlib import Path

import pytest
from balle2017.pipeline.experiment import advice


@pytest.mark.parametrize("value", [0.0004, 0.6])
def test_a_lambda_of_another_convention_is_noted(value):
    (line,) = advice({"lambdas": [0.0005, value, 0.5]}, [])
    assert line.startswith(
        f"note: lambdas has {value}; usual values are 0.0005 to 0.5, because the loss is"
    )


def test_test_images_that_were_compressed_before_are_noted():
    (line,) = advice({"lambdas": [0.01]}, [Path("a.JPG"), Path("b.png"), Path("c.jpeg")])
    assert line.startswith("note: 2 of the 3 test images are JPEG files")


def test_nothing_is_said_about_a_usual_config():
    assert advice({"lambdas": [0.01]}, [Path("a.png")]) == []
