"""What scales a family: every step builds, costs more than the one before, and leaves the named network as it was."""

from collections.abc import Mapping
from itertools import pairwise

import pytest

from edgekd.models import MODELS, describe

SHAPES: Mapping[str, tuple[int, ...]] = {"image": (3, 32, 32), "series": (3, 128), "text": (1_000, 32)}


@pytest.mark.parametrize("name", MODELS)
def test_the_steps_of_an_option_ascend_and_hold_what_the_name_stands_for(name: str) -> None:
    info = MODELS[name]
    assert 1 <= len(info.scales) <= 2
    for scale in info.scales:
        assert scale.option in info.options and scale.usual in scale.values
        assert all(before < after for before, after in pairwise(scale.values))
        same = describe(name, num_classes=10, input_shape=SHAPES[info.kinds[0]], options={scale.option: scale.usual})
        assert same == describe(name, num_classes=10, input_shape=SHAPES[info.kinds[0]])


@pytest.mark.parametrize("name", ["wrn_16_1", "ds_cnn", "ds_cnn_1d", "text_cnn", "text_transformer"])
def test_the_ends_of_every_option_build_and_cost_less_and_more(name: str) -> None:
    info = MODELS[name]
    for scale in info.scales:
        sizes = [
            describe(name, num_classes=10, input_shape=SHAPES[info.kinds[0]], options={scale.option: value}).macs
            for value in (scale.values[0], scale.usual, scale.values[-1])
        ]
        assert sizes[0] <= sizes[1] < sizes[2]


def test_depth_adds_whole_blocks_by_hand() -> None:
    # Each further block of resnet8's three stages: two 3x3 convolutions of 16, 32, 64 channels, their norms' 4 numbers.
    one, two = (describe("resnet8", num_classes=10, input_shape=(1, 28, 28), options={"blocks": n}) for n in (1, 2))
    assert two.parameters - one.parameters == sum(2 * 9 * c * c + 4 * c for c in (16, 32, 64))
