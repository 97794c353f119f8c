"""What a network is fed with: real samples in their order, or random numbers that say so; open sizes are asked for."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.timing import feeds_for, inputs_of

from .odd_nets import dense, two_inputs


def test_the_inputs_are_read_from_the_file_without_a_runtime(pixel_net: Path, tmp_path: Path) -> None:
    (pixels,) = inputs_of(pixel_net)
    assert (pixels.name, pixels.dtype, pixels.shape) == ("x", "uint8", ("batch", 8, 8, 1))
    assert [i.dtype for i in inputs_of(two_inputs(tmp_path / "two.onnx"))] == ["int64", "float32"]


def test_random_numbers_are_the_same_for_the_same_seed_and_say_what_they_are(pixel_net: Path) -> None:
    (once, origin), (again, _) = feeds_for(pixel_net, batch_size=2), feeds_for(pixel_net, batch_size=2)
    assert origin == "random numbers"
    assert once["x"].shape == (64, 2, 8, 8, 1) and once["x"].dtype == np.uint8
    assert (once["x"] == again["x"]).all()
    assert (once["x"] != feeds_for(pixel_net, batch_size=2, seed=1)[0]["x"]).any()


def test_real_samples_come_in_their_order_as_the_network_takes_them(pixel_net: Path, npz_file: Path) -> None:
    feeds, origin = feeds_for(pixel_net, source=npz_file, batch_size=10)
    assert origin == str(npz_file)
    assert feeds["x"].shape == (9, 10, 8, 8, 1)
    assert (feeds["x"].reshape(90, 8, 8, 1) == np.load(npz_file)["x"]).all()


def test_a_batch_larger_than_the_data_is_refused(pixel_net: Path, npz_file: Path) -> None:
    with pytest.raises(BadInputError, match=r"batch size 91 is larger than the data \(90 samples"):
        feeds_for(pixel_net, source=npz_file, batch_size=91)


def test_an_open_size_is_asked_for_by_its_input_s_name(tmp_path: Path) -> None:
    net = two_inputs(tmp_path / "two.onnx")
    with pytest.raises(BadInputError, match=r"input 'tokens' leaves length open.*--shape tokens=1,\?"):
        feeds_for(net)
    feeds, _ = feeds_for(net, shapes={"tokens": (1, 7), "mask": (1, 7)})
    assert {name: value.shape for name, value in feeds.items()} == {"tokens": (64, 1, 7), "mask": (64, 1, 7)}
    assert set(np.unique(feeds["tokens"])) == {0, 1}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"y": (1, 4)}, "has no such input; it has: x"),
        ({"x": (1, 5)}, r"is \(batch,4\); expected the same number of sizes"),
        ({"x": (1, 4, 1)}, "expected the same number of sizes"),
        ({"x": (0, 4)}, "all above 0"),
    ],
)
def test_a_shape_that_the_file_contradicts_is_refused(
    shape: dict[str, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=message):
        feeds_for(dense(tmp_path / "net.onnx"), shapes=shape)


def test_data_for_several_inputs_is_refused_and_says_what_works(tmp_path: Path, npz_file: Path) -> None:
    with pytest.raises(BadInputError, match=r"2 inputs \(tokens, mask\).*leave out --data"):
        feeds_for(two_inputs(tmp_path / "two.onnx"), source=npz_file)


def test_large_batches_are_few_so_that_they_stay_in_memory(tmp_path: Path) -> None:
    feeds, _ = feeds_for(dense(tmp_path / "net.onnx", width=1024), batch_size=4096)
    assert feeds["x"].shape == (4, 4096, 1024)  # 16 MiB each, 64 MiB together
