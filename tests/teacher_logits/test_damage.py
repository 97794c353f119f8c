"""A teacher-logit cache with flipped bits, cut files and foreign chunks: what is damaged is computed again."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd import teacher_logits
from edgekd.errors import BadInputError

from .kept import (
    ABOUT,
    DATA,
    DIGESTS,
    SAMPLES,
    TRUTH,
    Floats,
    Teacher,
    cache,
    check,
    flip,
    refill,
)


@pytest.mark.parametrize("name", [DATA, DIGESTS])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_chunk(full: Path, name: str, share: float, bit: int) -> None:
    place = int(share * (full / name).stat().st_size)
    flip(full / name, place, bit)
    with cache(full.parent) as kept, pytest.raises(BadInputError, match="1 of 6 chunks"):
        kept.read(0, np.arange(4))
    number = place // 8 if name == DIGESTS else (place // 100_000) * 3 + place % 100_000 // 40_000
    view, start = divmod(number, 3)
    assert refill(full.parent) == [(view, start * 2_000, min(start * 2_000 + 2_000, SAMPLES))]


def test_a_flipped_bit_anywhere_in_the_description_costs_nothing_and_is_mended(full: Path) -> None:
    good = (full / ABOUT).read_bytes()
    for place in range(len(good)):
        flip(full / ABOUT, place, place % 8)
        teacher_logits.entries(full.parent)
        assert refill(full.parent) == []
        assert (full / ABOUT).read_bytes() == good


@pytest.mark.parametrize("name", [DATA, DIGESTS, ABOUT])
@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_cut_file_costs_the_chunks_that_are_gone(full: Path, name: str, share: float) -> None:
    size = int(share * (full / name).stat().st_size)
    os.truncate(full / name, size)
    assert not teacher_logits.entries(full.parent)[0].complete
    lost = {DATA: {0: 6, 60_000: 5, 199_800: 1}, DIGESTS: {0: 6, 14: 4, 47: 0}, ABOUT: {}}[name].get(size, 0)
    assert len(refill(full.parent)) == lost
    assert teacher_logits.entries(full.parent)[0].complete


@pytest.mark.parametrize("name", [DATA, DIGESTS, ABOUT])
def test_a_file_that_is_gone_or_too_long_is_put_right(full: Path, name: str) -> None:
    with (full / name).open("ab") as file:
        file.write(b"more")
    assert refill(full.parent) == []
    (full / name).unlink()
    assert len(refill(full.parent)) == (0 if name == ABOUT else 6)
    assert refill(full.parent) == []


def test_the_whole_entry_of_another_key_is_foreign(full: Path) -> None:
    full.rename(full.parent / "other")
    assert len(refill(full.parent, key="other")) == 6
    assert json.loads((full.parent / "other" / ABOUT).read_text())["key"] == "other"
    assert refill(full.parent, key="other") == []


def test_the_data_of_another_key_under_this_key_s_digests_is_foreign(full: Path) -> None:
    with cache(full.parent, key="other") as kept:
        kept.fill(Teacher(TRUTH[::-1] + 1))
    (full.parent / "other" / DATA).replace(full / DATA)
    assert len(refill(full.parent)) == 6


def test_chunks_that_changed_places_are_found(full: Path) -> None:
    raw, digests = (full / DATA).read_bytes(), (full / DIGESTS).read_bytes()
    (full / DATA).write_bytes(raw[100_000:] + raw[:100_000])  # the two views, digests and all
    (full / DIGESTS).write_bytes(digests[24:] + digests[:24])
    assert len(refill(full.parent)) == 6


def test_another_shape_under_the_same_key_is_computed_anew(full: Path) -> None:
    with cache(full.parent, views=1, samples=700) as kept:
        kept.fill(Teacher())
        check(kept, TRUTH[:1, :700])
    assert (full / DATA).stat().st_size == 700 * 20
    assert len(refill(full.parent)) == 6


def test_nothing_but_zeros_is_not_taken_for_logits(full: Path) -> None:
    (full / DATA).write_bytes(bytes(200_000))
    assert len(refill(full.parent)) == 6


def test_a_teacher_that_fails_leaves_what_was_done(tmp_path: Path) -> None:
    teacher = Teacher()

    def fail(view: int, start: int, stop: int) -> Floats:
        if len(teacher.asked) == 4:
            raise ZeroDivisionError
        return teacher(view, start, stop)

    with cache(tmp_path) as kept, pytest.raises(ZeroDivisionError):
        kept.fill(fail)
    assert not teacher_logits.entries(tmp_path)[0].complete
    assert len(refill(tmp_path)) == 2
