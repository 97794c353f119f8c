"""Arrays from .npz files: every broken one is an error that names it, and none is unpickled."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data.npz import read_array, read_arrays, read_npz
from edgekd.errors import BadInputError

X = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
Y = np.array([0, 1, 2, 0, 1, 2])


class Trap:
    """Unpickling an instance creates the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def write(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def test_x_and_y_alone_are_a_pool_without_a_test_part(tmp_path: Path) -> None:
    pool = read_npz(write(tmp_path, x=X, y=Y), classes=None)
    assert pool.test is None
    assert pool.classes == ("0", "1", "2")
    assert pool.train.inputs.shape == (6, 4, 5, 1)
    assert np.array_equal(pool.train.inputs[..., 0], X)
    assert pool.train.labels.dtype == np.int64


def test_train_and_test_arrays_and_class_names_are_read(tmp_path: Path) -> None:
    colour = np.repeat(X[..., None], 3, axis=-1)
    names = np.array(["a b", "ä", "<script>"])
    path = write(tmp_path, x_train=colour, y_train=Y, x_test=colour[:3], y_test=Y[:3].astype(np.uint8), classes=names)
    pool = read_npz(path, classes=None)
    assert pool.test is not None
    assert (pool.train.inputs.shape, len(pool.test)) == ((6, 4, 5, 3), 3)
    assert pool.classes == ("a b", "ä", "<script>")
    assert read_npz(path, classes=("x", "y", "z")).classes == ("x", "y", "z")


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.npz: no such file; expected an \.npz file"):
        read_arrays(tmp_path / "gone.npz")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_a_file_that_is_no_archive_is_bad_input_and_not_called_a_pickle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"data\.npz: empty, truncated or not an \.npz file"):
        read_arrays(path)


def test_a_single_npy_array_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(BadInputError, match=r"not an \.npz file; write it with numpy\.savez"):
        read_arrays(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncation_and_damage_anywhere_never_give_other_arrays_or_another_error(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "data.npz"
    save(path, x=X, y=Y)
    raw = path.read_bytes()
    for length in range(0, len(raw), 17):
        path.write_bytes(raw[:length])
        with pytest.raises(BadInputError, match=r"data\.npz"):
            read_arrays(path)
    for place in range(0, len(raw), 3):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :])
        try:
            arrays = read_arrays(path)
        except BadInputError as err:
            assert "data.npz" in str(err)
        else:  # a field that nobody reads, such as the date; or the name of an array
            assert all(np.array_equal(array, {"x": X, "y": Y}.get(name, array)) for name, array in arrays.items())


def test_object_arrays_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    created = tmp_path / "created"
    path = write(tmp_path, x=X, y=np.array([Trap(created)], dtype=object))
    with pytest.raises(BadInputError, match=r"data\.npz: holds Python objects \(pickles\), which are never loaded"):
        read_npz(path, classes=None)
    assert not created.exists()


def test_a_member_that_is_no_array_is_bad_input(tmp_path: Path) -> None:
    path = write(tmp_path, x=X)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y", b"0 1 2 0 1 2")
    with pytest.raises(BadInputError, match="'y' is not an array"):
        read_arrays(path)


def test_a_header_that_claims_more_memory_than_there_is_is_bad_input(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**60,)})
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", file.getvalue())
    with pytest.raises(BadInputError, match=r"data\.npz"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "array 'y' is missing \\(found: x\\)"),
        ({"images": X}, "array 'x' is missing \\(found: images\\)"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "array 'y_test' is missing"),
        ({"x": X / 255, "y": Y}, "'x' is float64 of shape \\(6, 4, 5\\); expected raw uint8 pixels"),
        ({"x": X[..., None].repeat(2, -1), "y": Y}, "\\(6, 4, 5, 2\\); expected raw uint8"),
        ({"x": X[:, 0], "y": Y}, "\\(6, 5\\); expected raw uint8"),
        ({"x": X[:, :0], "y": Y}, "\\(6, 0, 5\\); expected raw uint8"),
        ({"x": X, "y": Y / 1}, "'y' is float64 of shape \\(6,\\); expected 6 integers"),
        ({"x": X, "y": Y[:5]}, "shape \\(5,\\); expected 6 integers"),
        ({"x": X, "y": Y > 0}, "'y' is bool"),
        ({"x": X, "y": Y, "classes": np.arange(3)}, "'classes' is int64 of shape \\(3,\\); expected a list of strings"),
        ({"x": X, "y": Y, "classes": np.array([["a", "b"]])}, "of shape \\(1, 2\\); expected a list of strings"),
        ({"x": X, "y": Y, "classes": np.array([b"a", b"b", b"c"])}, "'classes' is \\|S1 of shape"),
        ({"x": X, "y": np.array([0, 1, 2, 0, 1, 2**40])}, "label 1099511627776 among 6 samples leaves classes"),
    ],
)
def test_wrong_arrays_are_named_with_what_was_found_and_expected(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=rf"data\.npz: .*{message}"):
        read_npz(write(tmp_path, **arrays), classes=None)


def test_arrays_that_are_not_compressed_are_mapped_with_the_same_content_and_never_written_through(
    tmp_path: Path,
) -> None:
    turned = np.asfortranarray(X / 7)
    path = write(tmp_path, x=X, f=turned, small=Y[:2], empty=X[:0])
    raw = path.read_bytes()
    arrays = read_arrays(path, map_bytes=100)
    assert [name for name, array in arrays.items() if isinstance(array, np.memmap)] == ["x", "f"]
    for name, expected in {"x": X, "f": turned, "small": Y[:2], "empty": X[:0]}.items():
        np.testing.assert_array_equal(arrays[name], expected)
    arrays["x"][0] = 9
    assert path.read_bytes() == raw


def test_compressed_arrays_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=X)
    array = read_arrays(path, map_bytes=0)["x"]
    assert not isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, X)


def test_damage_and_truncation_of_mapped_arrays_are_found(tmp_path: Path) -> None:
    path = write(tmp_path, x=X, y=Y)
    raw = path.read_bytes()
    for length in range(0, len(raw), 17):
        path.write_bytes(raw[:length])
        with pytest.raises(BadInputError, match=r"data\.npz"):
            read_arrays(path, map_bytes=0)
    for place in range(0, len(raw), 3):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :])
        try:
            arrays = read_arrays(path, map_bytes=0)
        except BadInputError as err:
            assert "data.npz" in str(err)
        else:
            assert all(np.array_equal(array, {"x": X, "y": Y}.get(name, array)) for name, array in arrays.items())


def test_objects_and_headers_that_claim_too_much_are_refused_before_they_are_mapped(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds Python objects"):
        read_arrays(write(tmp_path, x=np.array([{}], dtype=object)), map_bytes=0)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10_000,)})
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", file.getvalue() + b"few")
        archive.writestr("y.npy", bytes(20_000))
    with pytest.raises(BadInputError, match=r"data\.npz"):
        read_arrays(path, map_bytes=0)


def test_one_array_is_mapped_and_anything_else_in_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, X)
    assert isinstance(read_array(path), np.memmap)
    np.testing.assert_array_equal(read_array(path), X)
    raw = path.read_bytes()
    for content in (b"", b"garbage", raw[:20], raw[:-1]):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=r"x\.npy: not a whole \.npy file"):
            read_array(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match="not a whole"):
        read_array(path)
    path.write_bytes(write(tmp_path, x=X).read_bytes())
    with pytest.raises(BadInputError, match="is an archive of arrays"):
        read_array(path)
    with pytest.raises(BadInputError, match="no such file"):
        read_array(tmp_path / "gone.npy")
