"""The recipe's teacher, whatever its kind: checked, identified and opened by tables with a line a kind."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd import models
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.progress import Listener, silent
from edgekd.recipe.section import Options
from edgekd.recipe.teacher import Member, Teacher, TeacherKeys
from edgekd.store import cache_home, key_of
from edgekd.teachers import Opened, OpenTeacher, complete
from edgekd.teachers.interface import Ids

if TYPE_CHECKING:
    import torch

    from edgekd.network import Network

PROBE = 64
"""Training samples on which it is seen what a teacher emits."""

NO_MATTER = {"path", "weights", "members", "fixed", "endpoint", "allow_download"}
"""Keys whose contents are identified by their hash, and not by where they lie; and what changes no answer."""


def check(teacher: TeacherKeys) -> None:
    """Refuse a teacher whose files are not there, before the data is read. Raises BadInputError."""
    for one in _each(teacher):
        CHECKS[one.kind](one)


def check_kind(teacher: Teacher, *, kind: str, length: int | None) -> None:
    """Refuse a teacher, or a member of an ensemble, that is not for the data's kind. length: of windows of series.

    Raises:
        BadInputError: it names what fits.
    """
    from edgekd.teachers import hub

    for one in _each(teacher):
        if one.kind == "network":
            models.check_kind(str(one.model), kind=kind, length=length)
        elif one.kind in hub.KINDS:
            hub.check_kind(one.kind, kind)


def identity(teacher: Teacher) -> str:
    """SHA-256 over all that decides what the teacher answers; neither opens it nor asks it."""
    return key_of([[_described(one), IDENTITIES[one.kind](one)] for one in (teacher, *(teacher.members or ()))])


def open_teacher(
    teacher: Teacher, dataset: Dataset, device: "torch.device", *, listener: Listener = silent
) -> OpenTeacher:
    """The recipe's teacher, its columns in the order of the data's classes, its outputs logits.

    Raises:
        BadInputError: it cannot be read, does not fit the data, or its answers cannot be what it declares.
        EnvironmentFault: a package or provider that it needs is not there.
    """
    return _complete(teacher, OPENERS[teacher.kind](teacher, dataset, device, listener), dataset)


def content_hash(teacher: Teacher) -> str:
    """The SHA-256 that a report names: of the teacher's file, or of its identity where it has none or several."""
    if teacher.kind == "network":
        return sha256(weights(teacher))
    one_file = teacher.path is not None and teacher.kind in ("onnx", "torchscript", "pt2", "scores")
    return sha256(Path(str(teacher.path))) if one_file else identity(teacher)


def check_model(model: str, options: Options) -> None:
    """Refuse an unknown network, or one of the user's own whose file is not there. Raises BadInputError."""
    if not models.is_own(model):
        models.check_name(model, options=options)
        return
    path, _, attribute = model.rpartition(":")
    if not attribute or not Path(path).is_file():
        raise BadInputError(f"model '{model}': no such file; expected path/to/file.py:callable")


def code(model: str | None) -> list[str]:
    """The hash of a network's code where it is the user's own."""
    return [sha256(Path(model.rpartition(":")[0]))] if model is not None and models.is_own(model) else []


def weights(teacher: TeacherKeys) -> Path:
    """The file behind teacher.weights.

    Raises:
        BadInputError: it is missing, or no teacher of that name ships with edgekd.
    """
    named = str(teacher.weights)
    if not named.startswith("builtin:"):
        if not Path(named).is_file():
            raise BadInputError(f"teacher.weights {named}: no such file; expected a .safetensors file")
        return Path(named)
    folder = Path(str(files("edgekd.models")))
    path = folder / f"{named.removeprefix('builtin:')}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(f"builtin:{p.stem}" for p in folder.glob("*.safetensors"))) or "none"
        raise BadInputError(f"teacher.weights = '{named}' does not ship with edgekd; known: {known}")
    return path


def load_network(teacher: TeacherKeys, dataset: Dataset) -> "Network":
    """A network of the recipe with its weights, checked against the data."""
    from edgekd.teacher import load_teacher

    return load_teacher(
        weights(teacher),
        dataset,
        model=str(teacher.model),
        options=teacher.options,
        mean=teacher.mean,
        std=teacher.std,
    )


def _check_network(teacher: TeacherKeys) -> None:
    check_model(str(teacher.model), teacher.options)
    weights(teacher)


def _complete(teacher: TeacherKeys, opened: Opened, dataset: Dataset) -> OpenTeacher:
    from edgekd.pixels import spread

    probe = spread(dataset.train, PROBE)
    return complete(
        opened,
        kind=teacher.kind,
        data_classes=dataset.classes,
        probe=np.asarray(probe.inputs),
        ids=probe.ids,
        outputs="logits" if teacher.kind == "ensemble" else teacher.outputs,
        classes=teacher.classes,
        multi_label=dataset.multi_label,
    )


def _each(teacher: TeacherKeys) -> tuple[TeacherKeys, ...]:
    """The teacher, or the members of an ensemble."""
    return teacher.members if isinstance(teacher, Teacher) and teacher.members else (teacher,)


def _described(teacher: TeacherKeys) -> dict[str, Any]:
    return teacher.model_dump(exclude=NO_MATTER)


def _file(teacher: TeacherKeys) -> Path:
    assert teacher.path is not None, "REQUIRED in edgekd.recipe.teacher"
    return Path(teacher.path)


def _check_file(teacher: TeacherKeys) -> None:
    path = _file(teacher)
    if not path.is_file():
        raise BadInputError(f"teacher.path {path}: no such file; expected a teacher of kind '{teacher.kind}'")


def _file_identity(*packages: str) -> Callable[[TeacherKeys], list[Any]]:
    """The file's hash and the versions of what runs it."""

    def of(teacher: TeacherKeys) -> list[Any]:
        return [sha256(_file(teacher)), [_version(package) for package in packages]]

    return of


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _scaling(teacher: TeacherKeys) -> Any:
    from edgekd.teachers.pictures import Scaling

    return Scaling(scale=teacher.scale, mean=teacher.mean, std=teacher.std, resize=teacher.resize)


def _network(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    """A network of a recipe as any other teacher: as a member of an ensemble, in float32."""
    from edgekd.teachers.tensors import asking

    net = load_network(teacher, dataset).to(device).eval()
    return Opened(
        name=str(teacher.model),
        ask=asking(net, data_kind=dataset.kind, device=device),
        on_device=net,
        classes=dataset.classes,
        parameters=sum(value.numel() for value in net.parameters()),
    )


def _onnx(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    from edgekd.teachers.onnx_file import open_onnx

    return open_onnx(
        _file(teacher),
        data_kind=dataset.kind,
        sample_shape=dataset.input_shape,
        device=device,
        scaling=_scaling(teacher),
        layout=teacher.layout,
        provider=teacher.provider or "auto",
    )


def _torch(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    from edgekd.teachers.torch_file import open_program, open_torchscript

    opener = open_program if teacher.kind == "pt2" else open_torchscript
    return opener(
        _file(teacher),
        data_kind=dataset.kind,
        sample_shape=dataset.input_shape,
        device=device,
        scaling=_scaling(teacher),
        layout=teacher.layout,
        dtype=teacher.dtype,
        trust=bool(teacher.trust),
    )


def _scores(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    from edgekd.teachers.scores import open_scores

    asked = [part.ids for part in (dataset.train, dataset.validation, dataset.test)]
    needed: Ids | None = (
        None if any(ids is None for ids in asked) else np.concatenate([i for i in asked if i is not None])
    )
    return open_scores(_file(teacher), source_ids=dataset.source_ids, needed=needed)


def _endpoint(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    from edgekd.teachers.endpoint import open_endpoint
    from edgekd.teachers.endpoint_form import Form
    from edgekd.teachers.http import Patience

    chosen = teacher.endpoint
    assert chosen is not None, "REQUIRED in edgekd.recipe.teacher"
    return open_endpoint(
        chosen.url,
        headers=chosen.headers,
        form=Form(
            encoding=chosen.encoding,
            inputs_key=chosen.inputs_key,
            scores_key=chosen.scores_key,
            batch_size=chosen.batch_size,
            concurrency=chosen.concurrency,
        ),
        patience=Patience(
            timeout_s=chosen.timeout_s,
            retries=chosen.retries,
            backoff_s=chosen.backoff_s,
            max_wait_s=chosen.max_wait_s,
            requests_per_second=chosen.requests_per_second,
        ),
        folder=cache_home(chosen.cache_folder) / "endpoint-answers",
        version=chosen.version,
        sample=dataset.train.inputs[:1],
        listener=listener,
    )


def _check_endpoint(teacher: TeacherKeys) -> None:
    from edgekd.teachers.http import check_url, headers_from_environment

    assert teacher.endpoint is not None, "REQUIRED in edgekd.recipe.teacher"
    check_url(teacher.endpoint.url)
    headers_from_environment(teacher.endpoint.headers)


def _endpoint_identity(teacher: TeacherKeys) -> list[Any]:
    from edgekd.teachers.endpoint import identity

    assert teacher.endpoint is not None, "REQUIRED in edgekd.recipe.teacher"
    return [identity(teacher.endpoint.url, version=teacher.endpoint.version)]


def _folder(teacher: TeacherKeys) -> Path:
    """Where the files of a pretrained teacher lie."""
    from edgekd.teachers.hub import check_installed, folder_of

    check_installed(teacher.kind)
    model = teacher.model
    if model is not None and teacher.kind == "timm" and "/" not in model:
        model = f"timm/{model}"
    return folder_of(model=model, path=teacher.path, revision=teacher.revision, allow_download=teacher.allow_download)


def _check_pretrained(teacher: TeacherKeys) -> None:
    _folder(teacher)


def _pretrained_identity(teacher: TeacherKeys) -> list[Any]:
    from edgekd.teachers.hub import digests

    return [digests(_folder(teacher)), [_version(package) for package in ("torch", teacher.kind)]]


def _pretrained(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    from edgekd.teachers.pretrained import open_timm, open_transformers

    folder, name = _folder(teacher), teacher.model or Path(str(teacher.path)).name
    kind, shape = dataset.kind, dataset.input_shape
    if teacher.kind == "timm":
        return open_timm(folder, name=name, data_kind=kind, sample_shape=shape, device=device)
    return open_transformers(folder, name=name, data_kind=kind, sample_shape=shape, device=device, facts=dataset.front)


def _ensemble(teacher: TeacherKeys, dataset: Dataset, device: "torch.device", listener: Listener) -> Opened:
    from edgekd.teachers.ensemble import join

    assert isinstance(teacher, Teacher) and teacher.members
    opened = [(_member(one, dataset, device, listener), one.weight) for one in teacher.members]
    return join(opened, combine=teacher.combine, classes=dataset.classes, multi_label=dataset.multi_label)


def _member(one: Member, dataset: Dataset, device: "torch.device", listener: Listener) -> OpenTeacher:
    return _complete(one, OPENERS[one.kind](one, dataset, device, listener), dataset)


OPENERS: dict[str, Callable[[TeacherKeys, Dataset, "torch.device", Listener], Opened]] = {
    "network": _network,
    "onnx": _onnx,
    "torchscript": _torch,
    "pt2": _torch,
    "scores": _scores,
    "endpoint": _endpoint,
    "timm": _pretrained,
    "transformers": _pretrained,
    "ensemble": _ensemble,
}
"""Kind -> what opens it."""

CHECKS: dict[str, Callable[[TeacherKeys], None]] = {
    "network": _check_network,
    "onnx": _check_file,
    "torchscript": _check_file,
    "pt2": _check_file,
    "scores": _check_file,
    "endpoint": _check_endpoint,
    "timm": _check_pretrained,
    "transformers": _check_pretrained,
    "ensemble": lambda teacher: None,
}
"""Kind -> what can be refused before the data is read."""

IDENTITIES: dict[str, Callable[[TeacherKeys], list[Any]]] = {
    "network": lambda teacher: [sha256(weights(teacher)), *code(teacher.model)],
    "onnx": _file_identity("onnxruntime", "onnxruntime-gpu"),
    "torchscript": _file_identity("torch"),
    "pt2": _file_identity("torch"),
    "scores": _file_identity(),
    "endpoint": _endpoint_identity,
    "timm": _pretrained_identity,
    "transformers": _pretrained_identity,
    "ensemble": lambda teacher: [],
}
"""Kind -> what, beside its keys, decides its answers: for the hashes under which stages are kept."""
