"""Outputs are the same whether they were kept or are computed again, and each sample has its row."""

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.recorded import Array, Run, record

INPUTS = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)


def counting(counts: list[int]) -> Run:
    """A network of two outputs that writes down how many samples it was given."""

    def run(batch: Array) -> list[Array]:
        counts.append(len(batch))
        return [2 * batch, batch.sum(axis=1)]  # type: ignore[operator]

    return run


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_outputs_are_the_same_kept_or_not_at_any_batch(keep_bytes: int, batch_size: int) -> None:
    found = record(counting([]), INPUTS, batch_size=batch_size, keep_bytes=keep_bytes)
    assert (found.kept is None) == (keep_bytes == 0)
    assert len(found) == 7
    np.testing.assert_array_equal(found.first(), 2 * INPUTS)
    doubled, sums = found.outputs(slice(2, 5))
    np.testing.assert_array_equal(doubled, 2 * INPUTS[2:5])
    np.testing.assert_array_equal(sums, INPUTS[2:5].sum(axis=1))
    assert [place.stop for place in found.slices()][-1] == 7


def test_what_is_kept_is_computed_once_and_what_is_too_large_only_on_demand() -> None:
    kept: list[int] = []
    found = record(counting(kept), INPUTS, batch_size=4)
    found.outputs(slice(0, 7))
    found.first()
    assert kept == [1, 4, 3]
    not_kept: list[int] = []
    found = record(counting(not_kept), INPUTS, batch_size=4, keep_bytes=10)
    assert not_kept == [1]
    found.outputs(slice(0, 4))
    assert not_kept == [1, 4]


def test_a_network_whose_batch_is_its_second_axis_runs_on_one_sample_at_a_time() -> None:
    """(time, batch, classes): each sample becomes one row, (1, time, classes)."""
    found = record(lambda batch: [np.stack([batch, -batch, batch])], INPUTS, batch_size=4)  # type: ignore[operator]
    assert found.batch_size == 1
    assert found.first().shape == (7, 3, 2)
    np.testing.assert_array_equal(found.first()[5], np.stack([INPUTS[5], -INPUTS[5], INPUTS[5]]))


def test_sizes_that_depend_on_the_sample_are_kept_apart() -> None:
    counts = np.array([[1], [3], [2]])
    found = record(lambda batch: [np.ones((1, int(batch[0, 0]), 4))], counts, batch_size=1)
    assert found.kept is None
    assert [found.outputs(place)[0].shape for place in found.slices()] == [(1, 1, 4), (1, 3, 4), (1, 2, 4)]


def test_outputs_without_a_row_for_each_sample_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"output 0 has shape \(1, 2\) for 4 samples"):
        record(lambda batch: [batch[:1]], INPUTS, batch_size=4)
    with pytest.raises(BadInputError, match="no samples to evaluate"):
        record(counting([]), INPUTS[:0], batch_size=4)


def test_a_single_number_is_a_row_of_one() -> None:
    found = record(lambda batch: [np.float32(batch.sum())], INPUTS, batch_size=3)  # type: ignore[list-item,attr-defined]
    assert found.outputs(slice(0, 1))[0].shape == (1, 1, 1)
