"""The section [teacher]: what belongs to each kind, and what contradicts."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.recipe import load, parse
from edgekd.recipe.schema import Recipe
from edgekd.recipe.teacher import KEYS, REQUIRED, SUFFIXES, TeacherKeys
from edgekd.recipe.write import dump
from edgekd.teacher_kinds import CHECKS, IDENTITIES, OPENERS, check


def recipe(teacher: dict[str, Any], **data: Any) -> Recipe:
    document = {"source": "fashion-mnist", "augment": "none"} | data
    return parse({"name": "r", "data": document, "teacher": teacher, "student": {"model": "resnet8"}}, origin="r")


MEMBERS = [{"kind": "onnx", "path": "a.onnx", "weight": 2.0}, {"kind": "scores", "path": "b.csv"}]


def test_every_kind_has_a_line_in_every_table() -> None:
    kinds = set(KEYS)
    assert kinds == set(REQUIRED) == set(OPENERS) == set(CHECKS) == set(IDENTITIES)
    assert set(SUFFIXES) <= kinds
    assert {key for keys in KEYS.values() for key in keys} >= set(TeacherKeys.model_fields) - {"kind"}


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"kind": "onnx"}, r"teacher: path is missing; a teacher of kind 'onnx' needs path"),
        ({"model": "resnet8"}, r"weights is missing; a teacher of kind 'network' needs model and weights"),
        ({"path": "t.onnx"}, r"path belongs to kind onnx or torchscript .* set kind = 'onnx'"),
        ({"kind": "onnx", "path": "t.pt"}, r"'t.pt' does not end in .onnx, .* or set kind = 'torchscript'"),
        ({"kind": "onnx", "path": "t.onnx", "trust": True}, r"trust belongs to kind torchscript or pt2"),
        ({"kind": "onnx", "path": "t.onnx", "mean": [0.5]}, r"mean and std belong together"),
        ({"kind": "onnx", "path": "t.onnx", "pth": 1}, r"unknown key 'teacher.pth'; did you mean 'path'"),
        ({"kind": "onnx", "path": "t.onnx", "scale": 0.0}, r"teacher.scale: found 0.0"),
        ({"kind": "onxx", "path": "t.onnx"}, r"teacher.kind: found 'onxx'"),
        ({"kind": "onnx", "path": "t.onnx", "fixed": True}, r"fixed belongs to kind scores or"),
        ({"kind": "ensemble", "members": MEMBERS[:1]}, r"teacher.members: .*at least 2 items"),
        ({"kind": "ensemble", "members": [{"kind": "ensemble"}, MEMBERS[0]]}, r"teacher.members.0"),
        ({"kind": "ensemble", "members": [{**MEMBERS[0], "wieght": 1}, MEMBERS[1]]}, r"did you mean 'weight'"),
        ({"kind": "ensemble", "members": MEMBERS[:1] * 2, "fixed": True}, r"fixed = true, but this teacher sees each"),
    ],
)
def test_what_contradicts_is_refused_by_name(teacher: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        recipe(teacher)


def test_an_ensemble_is_read_written_and_read_back_with_absolute_paths(tmp_path: Any) -> None:
    (tmp_path / "r.toml").write_text(
        'name = "r"\n[data]\nsource = "fashion-mnist"\naugment = "none"\n[student]\nmodel = "resnet8"\n'
        '[teacher]\nkind = "ensemble"\ncombine = "logits"\n'
        '[[teacher.members]]\nkind = "onnx"\npath = "a.onnx"\nweight = 2.0\n'
        '[[teacher.members]]\nkind = "scores"\npath = "b.csv"\n'
    )
    read = load(tmp_path / "r.toml")
    assert read.teacher is not None and read.teacher.members is not None and read.teacher.by_sample
    assert [one.path for one in read.teacher.members] == [str(tmp_path / "a.onnx"), str(tmp_path / "b.csv")]
    (tmp_path / "lock.toml").write_text(dump(read))
    assert load(tmp_path / "lock.toml") == read
    with pytest.raises(BadInputError, match=r"a.onnx: no such file; expected a teacher of kind 'onnx'"):
        check(read.teacher)


HUBS = """name = "r"
data.source = "fashion-mnist"
student.model = "resnet8"
[teacher]
kind = "ensemble"
[[teacher.members]]
kind = "transformers"
model = "owner/name"
[[teacher.members]]
model = "resnet8"
weights = "t.safetensors"
"""


def test_what_may_be_fetched_is_what_comes_from_a_hub_also_in_an_ensemble(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(HUBS)
    teacher = load(path, allow_download=True).teacher
    assert teacher is not None and teacher.members is not None
    assert [one.allow_download for one in teacher.members] == [True, False]
    assert not any(one.allow_download for one in load(path).teacher.members or ())  # type: ignore[union-attr]
    path.write_text(HUBS.replace('kind = "transformers"\nmodel = "owner/name"', 'kind = "onnx"\npath = "t.onnx"'))
    with pytest.raises(BadInputError, match="--allow-download, and its teacher comes from no hub; expected kind timm"):
        load(path, allow_download=True)
