"""Hugging Face data sets on disk, read without their library.

`hugging_face/` is what datasets 5.2.0 itself wrote (`save_to_disk`): six pictures of 8x8 RGB noise from numpy's
default_rng(0), labels 0, 1, 0, 1, 0 and none.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import data
from edgekd.data.dataset import Pool
from edgekd.data.read_picture import Resize
from edgekd.data.saved_dataset import is_saved_dataset, read_saved_dataset
from edgekd.errors import BadInputError

pyarrow = pytest.importorskip("pyarrow")
SAVED = Path(__file__).parent / "hugging_face"
GENERATOR = np.random.default_rng(0)
PICTURES = np.stack([GENERATOR.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(6)])


def read(folder: Path, classes: tuple[str, ...] | None = None) -> Pool:
    return read_saved_dataset(folder, resize=None, channels=None, classes=classes)


def test_the_splits_of_a_dataset_dict_are_read_with_classes_and_missing_labels() -> None:
    pool = read(SAVED / "pictures")
    assert pool.classes == ("cat", "dog")
    np.testing.assert_array_equal(pool.train.inputs, PICTURES)
    assert pool.train.labels.tolist() == [0, 1, 0, 1, 0, -1]
    assert pool.test is not None and len(pool.test) == 4 and pool.validation is None


def test_shards_are_read_in_their_order() -> None:
    pool = read(SAVED / "shards")
    np.testing.assert_array_equal(pool.train.inputs, PICTURES[2:])
    assert pool.train.labels.tolist() == [0, 1, 0, -1]


def test_arrays_of_pixels_and_integer_labels_are_read() -> None:
    pool = read(SAVED / "arrays")
    np.testing.assert_array_equal(pool.train.inputs, PICTURES)
    assert (pool.classes, pool.train.labels.tolist()) == (("0", "1"), [0, 1, 0, 1, 0, 1])
    assert read(SAVED / "arrays", classes=("cat", "dog")).classes == ("cat", "dog")
    with pytest.raises(BadInputError, match=r"data\.resize and data\.channels are for picture files"):
        read_saved_dataset(SAVED / "arrays", resize=Resize(4, 4), channels=None, classes=None)


def test_the_library_datasets_is_not_imported() -> None:
    code = (
        "import sys; from edgekd import data; from pathlib import Path\n"
        "from edgekd.data.saved_dataset import read_saved_dataset\n"
        "read_saved_dataset(Path(sys.argv[1]), resize=None, channels=None, classes=None)\n"
        "assert not {'datasets', 'pandas', 'torch'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, SAVED / "pictures"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


Saved = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A function that writes a Dataset as `save_to_disk` does, of these columns and features."""

    def write(columns: dict[str, Any], features: dict[str, Any], name: str = "d") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        table = pyarrow.table(columns)
        path = str(folder / "data-00000-of-00001.arrow")
        with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
        (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
        return folder

    return write


IMAGE, VALUE = {"_type": "Image"}, {"_type": "Value", "dtype": "int64"}
LABEL = {"_type": "ClassLabel", "names": ["cat", "dog"]}


def png(count: int = 40) -> list[dict[str, Any]]:
    """Picture cells as an Image column has them."""
    from io import BytesIO

    from PIL import Image

    cells = []
    for number in range(count):
        file = BytesIO()
        Image.fromarray(np.full((4, 4), 5 * number, dtype=np.uint8)).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    return cells


def test_groups_ids_and_pictures_by_path_are_read(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1)[0]["bytes"])
    cells = [*png(3), {"bytes": None, "path": str(tmp_path / "a.png")}]
    columns = {"image": cells, "label": [0, 1, None, 0], "group": ["x", "x", "y", "z"], "id": [4, 5, 6, 7]}
    pool = read(saved(columns, {"image": IMAGE, "label": LABEL, "group": VALUE, "id": VALUE}))
    assert pool.train.inputs[:, 0, 0, 0].tolist() == [0, 5, 10, 0]
    assert pool.train.labels.tolist() == [0, 1, -1, 0]
    assert pool.train.groups is not None and pool.train.groups.tolist() == ["x", "x", "y", "z"]
    assert pool.train.ids is not None and pool.train.ids.tolist() == ["4", "5", "6", "7"]


def test_it_is_a_source_like_any_other(saved: Saved) -> None:
    folder = saved({"image": png(), "label": [0, 1] * 20}, {"image": IMAGE, "label": LABEL})
    assert is_saved_dataset(folder) and is_saved_dataset(SAVED / "pictures") and not is_saved_dataset(folder.parent)
    made = data.load(str(folder), calibration_samples=4)
    assert made.classes == ("cat", "dog") and made.input_shape == (4, 4, 1)
    assert sum(made.counts().values()) == 40


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"image": png(2), "label": [0, 2]}, {"image": IMAGE, "label": LABEL}, r"row 1: label 2 is outside 0\.\.1"),
        ({"image": png(2), "label": [0, -2]}, {"image": IMAGE, "label": LABEL}, r"row 1: label -2 is outside"),
        ({"image": png(2), "label": ["a", "b"]}, {"image": IMAGE, "label": VALUE}, "row 0: 'label' is 'a'; expected"),
        ({"image": png(2)}, {"image": IMAGE}, r"has no labels.*set data\.classes"),
        ({"label": [0]}, {"label": LABEL}, "has 0 image columns"),
        ({"a": png(1), "b": png(1)}, {"a": IMAGE, "b": IMAGE}, "has 2 image columns"),
        (
            {"image": png(1)},
            {"image": IMAGE, "label": LABEL},
            "column 'label' is in dataset_info.json and not in the data",
        ),
        ({"image": png(1), "x": [0], "y": [0]}, {"image": IMAGE, "x": LABEL, "y": LABEL}, "several label columns"),
        ({"image": [*png(1), None], "label": [0, 1]}, {"image": IMAGE, "label": LABEL}, "row 1: has no picture"),
        (
            {"image": [{"bytes": b"no", "path": None}], "label": [0]},
            {"image": IMAGE, "label": LABEL},
            "row 0: not a readable PNG or JPEG",
        ),
        (
            {"image": [{"bytes": None, "path": "gone.png"}], "label": [0]},
            {"image": IMAGE, "label": LABEL},
            r"row 0: holds the path gone\.png and no bytes",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    columns: dict[str, Any], features: dict[str, Any], message: str, saved: Saved
) -> None:
    with pytest.raises(BadInputError, match=message):
        read(saved(columns, features))


def test_damaged_folders_are_named(saved: Saved, tmp_path: Path) -> None:
    folder = shutil.copytree(SAVED / "pictures", tmp_path / "cut")
    file = folder / "train" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(BadInputError, match="not a whole Arrow file"):
        read(folder)
    file.unlink()
    with pytest.raises(BadInputError, match=r"data-00000-of-00001\.arrow: no such file, though .*state\.json names it"):
        read(folder)
    (folder / "train" / "state.json").write_text("{")
    with pytest.raises(BadInputError, match=r"state\.json: cannot be read"):
        read(folder)
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "extra"]}')
    with pytest.raises(BadInputError, match=r"has the split 'extra'; expected train, validation and test"):
        read(folder)


def test_splits_with_other_classes_are_refused(saved: Saved, tmp_path: Path) -> None:
    for name, names in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        features = {"image": IMAGE, "label": {"_type": "ClassLabel", "names": names}}
        saved({"image": png(2), "label": [0, 1]}, features, f"both/{name}")
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(BadInputError, match=r"train has the classes \('cat', 'dog'\), test \('dog', 'cat'\)"):
        read(tmp_path / "both")
