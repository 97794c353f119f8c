"""The sizes of a family, in the order in which they are tried: width first, and depth where the widths end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.data.dataset import Dataset, Pool, split
from edgekd.errors import BadInputError
from edgekd.fit.sizes import scales_of, sizes, steps
from edgekd.models.scale import Scale

WIDTH = Scale(option="width", usual=1.0, values=(0.5, 1.0, 2.0))
DEPTH = Scale(option="blocks", usual=2, values=(1, 2, 3))


@pytest.fixture
def dataset(draw: Callable[..., object]) -> Dataset:
    pool = Pool(classes=("top", "middle", "bottom"), train=draw(60))  # type: ignore[arg-type]
    return split(pool, source="bars", seed=0, validation_fraction=0.2, calibration_samples=12, test_fraction=0.2)


def test_width_goes_first_at_the_familys_depth_and_depth_goes_on_where_it_ends() -> None:
    assert list(steps((WIDTH, DEPTH), {"dropout": 0.1})) == [
        {"dropout": 0.1, "width": 0.5, "blocks": 1},
        {"dropout": 0.1, "width": 0.5},
        {"dropout": 0.1, "width": 1.0},
        {"dropout": 0.1, "width": 2.0},
        {"dropout": 0.1, "width": 2.0, "blocks": 3},
    ]


def test_a_value_of_the_recipe_is_a_step_and_its_depth_is_where_widths_are_tried() -> None:
    found = list(steps((WIDTH, DEPTH), {"width": 0.75, "blocks": 3}))
    assert [size["width"] for size in found] == [0.5, 0.5, 0.5, 0.75, 1.0, 2.0]
    assert [size["blocks"] for size in found] == [1, 2, 3, 3, 3, 3]


def test_sizes_ascend_in_cost_and_none_is_there_twice(dataset: Dataset) -> None:
    # Times 3/16 and times 1/4, the stem and the stages of resnet8 have 8, 8, 8 and 16 channels.
    found = sizes(dataset, "resnet8", scales_of("resnet8", {"width": (1.0, 0.25, 0.1875)}), {})
    assert [size.options["width"] for size in found] == [0.1875, 1.0]
    assert found[0].macs < found[1].macs
    assert all(size.weights < size.parameters for size in found)


def test_given_values_replace_the_familys_own(dataset: Dataset) -> None:
    found = sizes(dataset, "resnet8", scales_of("resnet8", {"blocks": (3, 1)}), {"width": 0.5})
    assert [size.options for size in found] == [{"width": 0.5, "blocks": 1}, {"width": 0.5, "blocks": 3}]


def test_a_network_of_ones_own_is_scaled_by_what_is_given(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(*, num_classes, in_channels, hidden):\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.Linear(hidden, num_classes))\n"
    )
    with pytest.raises(BadInputError, match=r"your own network, and nothing says how it is scaled; .*--scale width="):
        scales_of(f"{tmp_path}/mine.py:net", {})
    assert scales_of(f"{tmp_path}/mine.py:net", {"hidden": (8, 4)})[0].values == (4, 8)


def test_an_option_that_the_network_does_not_have_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInputError, match=r"--scale widht: model 'resnet8' has no such .*known: width, blocks; did"):
        scales_of("resnet8", {"widht": (1.0,)})


def test_an_option_that_is_no_number_does_not_scale() -> None:
    with pytest.raises(BadInputError, match=r"student.options.width is 'wide'; expected a number"):
        list(steps((WIDTH,), {"width": "wide"}))
