"""Every kind of teacher with every kind of data, through the code of `edgekd run`: it teaches, or is refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgekd import pipeline
from edgekd.errors import BadInputError
from edgekd.recipe import parse
from edgekd.settings import check_kind

from . import worlds
from .endpoint_server import serving
from .matrix import KINDS, MATRIX, cells, markdown
from .worlds import World

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")

NOISE = 2e-3
"""How far weights of the two students may be apart after one epoch of 7 steps; mostly they are the same to the bit.

Targets are rounded to fp16. Where two teachers differ in a last bit of float32, a logit of 8 to 16 may round to the
other side, 2**-7 apart. In a batch of 8, at a rate of 0.1 and with features of 3, that moves a weight by no more than
0.1 x 2**-7 x 3 / 8 = 3e-4 a step. A student of another teacher is ten times further away, which is tested too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What a recipe with a teacher made: the teacher's facts, and the student's weights."""

    teacher: dict[str, Any]
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """A function that gives the world of a kind of data, made once."""
    known: dict[str, World] = {}

    def of(kind: str) -> World:
        if kind not in known:
            known[kind] = worlds.make(kind, tmp_path_factory.mktemp(kind))
        return known[kind]

    return of


@pytest.fixture(scope="module")
def reference(made: Callable[[str], World]) -> Callable[[str], Taught]:
    """A function that gives the student of a world's network."""
    known: dict[str, Taught] = {}

    def of(kind: str) -> Taught:
        if kind not in known:
            world = made(kind)
            known[kind] = teach(world, network(world), world.folder / "reference")
        return known[kind]

    return of


def teach(world: World, teacher: dict[str, Any] | None, folder: Path, **data: Any) -> Taught:
    """`edgekd distill` of one epoch."""
    recipe = parse(world.document(teacher, **data), origin="matrix")
    found = pipeline.run(recipe, folder=folder, until="distill")
    return Taught(teacher=found.report["teacher"], weights=load_file(folder / "student.safetensors"))


def network(world: World) -> dict[str, Any]:
    return {"model": world.network, "weights": str(world.weights)}


DTYPES = {"image": "uint8", "series": "float32", "audio": "int16", "text": "int32"}
"""Of the raw samples, which the networks of the worlds take."""


@contextmanager
def teacher_of(name: str, world: World, folder: Path) -> Iterator[dict[str, Any]]:
    """The section [teacher] of a recipe for the world's network in another form; its server runs while inside."""
    kind, _, suffix = name.partition(" ")
    named = {"classes": [*world.dataset.classes]}
    in_torch = {"kind": kind, "dtype": DTYPES[world.kind], **named}
    if kind == "network":
        yield network(world)
    elif kind == "onnx":
        layout = {"layout": "nchw"} if world.kind == "image" else {}
        yield {"kind": kind, "path": str(worlds.write_onnx(world, folder / "t.onnx")), **named, **layout}
    elif kind == "torchscript":
        yield in_torch | {"path": str(worlds.write_torchscript(world, folder / "t.pt"))}
    elif kind == "pt2":
        yield in_torch | {"path": str(worlds.write_program(world, folder / "t.pt2")), "trust": True}
    elif kind == "scores":
        path = worlds.write_scores(world, folder / f"t{suffix}")
        yield {"kind": kind, "path": str(path)} | (named if suffix == ".npy" else {})
    elif kind == "endpoint":
        with serving(score=world.answer) as server:
            asked = {"url": server.url, "batch_size": 16, "cache_folder": str(folder / "cache")}
            yield {"kind": kind, "endpoint": asked, **named}
    else:
        script = str(worlds.write_torchscript(world, folder / "t.pt"))
        members = [network(world) | {"weight": 3.0}, in_torch | {"kind": "torchscript", "path": script}]
        yield {"kind": "ensemble", "combine": "logits", "members": members}


@pytest.mark.parametrize(("name", "kind"), cells("same"))
def test_a_network_in_any_form_teaches_the_same_student(
    name: str, kind: str, made: Callable[[str], World], reference: Callable[[str], Taught], tmp_path: Path
) -> None:
    if name == "scores .parquet":
        pytest.importorskip("pyarrow")
    world, expected = made(kind), reference(kind)
    with teacher_of(name, world, tmp_path) as teacher:
        found = teach(world, teacher, tmp_path / "run")
    assert world.top1 > 0.8 and found.teacher["test_top1"] == world.top1
    assert found.teacher["kind"] == name.partition(" ")[0] and found.teacher["class_order"] == "by name"
    assert found.teacher["test_predictions"] == expected.teacher["test_predictions"]
    for weight, value in expected.weights.items():
        torch.testing.assert_close(found.weights[weight], value, rtol=0, atol=NOISE, msg=f"{name}, {kind}: {weight}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("pt2", "series"), ("onnx", "audio"), ("torchscript", "text")])
def test_a_run_with_it_goes_to_its_verdict(name: str, kind: str, made: Callable[[str], World], tmp_path: Path) -> None:
    world = made(kind)
    with teacher_of(name, world, tmp_path) as teacher:
        document = world.document(teacher) | {
            "quantize": {"variants": ["int8-u8s8"], "time_budget": 0.1},
            "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        }
        outcome = pipeline.run(parse(document, origin="matrix"), folder=tmp_path / "run")
    assert outcome.report["teacher"]["kind"] == name and outcome.report["gate"]["verdict"] in ("pass", "inconclusive")
    assert (tmp_path / "run" / "bundle").is_dir()


@pytest.mark.parametrize("name", ["onnx", "scores .csv", "endpoint"])
def test_samples_that_stay_on_disk_are_answered_as_those_in_memory(
    name: str,
    made: Callable[[str], World],
    reference: Callable[[str], Taught],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "decoded"))
    world, expected = made("image"), reference("image")
    with teacher_of(name, world, tmp_path) as teacher:
        document = world.document(teacher, storage="disk")
        found = pipeline.run(parse(document, origin="matrix"), folder=tmp_path / "run", until="distill")
    assert found.report["data"]["storage"]["place"] == "disk"
    for weight, value in load_file(tmp_path / "run" / "student.safetensors").items():
        torch.testing.assert_close(value, expected.weights[weight], rtol=0, atol=NOISE, msg=f"{name}: {weight}")


@pytest.mark.parametrize("kind", KINDS)
def test_another_teacher_teaches_another_student(
    kind: str, made: Callable[[str], World], reference: Callable[[str], Taught], tmp_path: Path
) -> None:
    labels, expected = teach(made(kind), None, tmp_path / "run"), reference(kind)
    apart = max(float((labels.weights[name] - value).abs().max()) for name, value in expected.weights.items())
    assert apart > 10 * NOISE


@pytest.mark.parametrize(("name", "kind"), cells("refused"))
def test_a_teacher_of_other_data_is_refused_with_what_it_takes(
    name: str, kind: str, made: Callable[[str], World]
) -> None:
    recipe = parse(made(kind).document({"kind": name, "path": "model"}), origin="matrix")
    message = rf"a teacher of kind '{name}' takes data of kind image.*, the data is of kind {kind}; export the teacher"
    with pytest.raises(BadInputError, match=message):
        check_kind(recipe, made(kind).dataset)


def test_every_kind_of_teacher_stands_in_the_table_and_the_table_in_the_documentation() -> None:
    from edgekd.recipe.teacher import KEYS

    assert {name.partition(" ")[0] for name in MATRIX} == set(KEYS)
    for page in ("docs/teachers.md", "README.md"):
        assert markdown() in (ROOT / page).read_text(encoding="utf-8")
