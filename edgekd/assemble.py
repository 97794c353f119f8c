"""Puts together what a run leaves: the sections of report.json, and the bundle of the variant that was chosen."""

import datetime
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import __version__, bundle, gate, report, targets
from edgekd.data import Dataset
from edgekd.data.sample_file import SampleFile
from edgekd.environment import Environment
from edgekd.recheck import SCHEMA_VERSION, raw_sha256
from edgekd.recipe import Recipe
from edgekd.rows import Inputs
from edgekd.session import SessionOptions
from edgekd.store import Stage, key_of
from edgekd.targets import Target

BUNDLED_SAMPLES = 16


def header(name: str, *, machine: Environment, target: Target, data: Mapping[str, Any]) -> dict[str, Any]:
    """Every section of a report; those that a run may do without are empty, to be replaced."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "edgekd_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": None,
        "environment": machine.as_dict(),
        "target": target.model_dump(mode="json"),
        "data": dict(data),
        "teacher": None,
        "student": None,
        "export": None,
        "qat": None,
        "search": None,
        "variants": [],
        "gate": None,
        "timings": {},
    }


def recipe_facts(recipe: Recipe, *, origin: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """The section `recipe`. origin: the file as it was named; overrides: `section.key=value`, applied already."""
    return {
        "path": origin,
        "sha256": key_of(recipe.model_dump(by_alias=True)),
        "overrides": list(overrides),
        "values": recipe.model_dump(mode="json", by_alias=True),
    }


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """The section `data`."""
    return {
        "source": dataset.source,
        "classes": list(dataset.classes),
        "task": dataset.task,
        "positives": dataset.positives() if dataset.multi_label else None,
        "counts": dataset.counts(),
        "unlabelled": dataset.unlabelled(),
        "left_out": dataset.left_out,
        "groups": None if dataset.train.groups is None else dataset.groups(),
        "not_measured": not_measured(dataset),
        "input_shape": list(dataset.input_shape),
        "index_hash": dataset.index_hash,
        "content_hash": dataset.content_hash,
        "repeated": dataset.repeated,
        "storage": dataset.storage,
    }


def not_measured(dataset: Dataset) -> list[str]:
    """What no number of the report can say, because samples have no label: a sentence each."""
    unlabelled, counts = dataset.unlabelled(), dataset.counts()
    bare = [name for name in counts if counts[name] and unlabelled[name] == counts[name]]
    said = {
        "train": "No training sample has a label: the student learned from the teacher's answers alone, and its "
        "accuracy in training was not measured.",
        "validation": "No validation sample has a label: accuracy by epoch was not measured.",
        "test": "No test sample has a label: accuracy, its drop and calibration were not measured, only agreement with "
        "the teacher and with fp32. A limit on accuracy stays undecided.",
    }
    sentences = [text for name, text in said.items() if name in bare]
    if 0 < unlabelled["train"] < counts["train"]:
        sentences.append(
            f"{unlabelled['train']:,} of {counts['train']:,} training samples have no label: they teach by the "
            "teacher's answers alone, and training accuracy is of the others."
        )
    if dataset.left_out:
        sentences.append(
            f"{dataset.left_out:,} samples without a label stand in no split: those beside them are judged by labels."
        )
    return sentences


def made(stages: Mapping[str, Stage]) -> dict[str, Any]:
    """The sections of the stages that ran, and how long each took."""
    sections = {"teacher": "teacher", "student": "distill", "export": "export", "qat": "qat"}
    results = {name: stages[stage].result for name, stage in sections.items() if stage in stages}
    if "quantize" in stages:
        results["search"] = searched(stages["quantize"].result)
    return results | {"timings": {name: stage.seconds for name, stage in stages.items()}}


def searched(found: Mapping[str, Any], *, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The section `search`: what was tried, and what to know of its data. found: a `Searched` as a mapping."""
    return {key: value for key, value in found.items() if key != "built"} | {"warnings": list(warnings)}


def judged(variants: Sequence[Mapping[str, Any]], verdict: gate.Gate, *, target: Target) -> dict[str, Any]:
    """The sections `variants`, each with the hash of its raw numbers, and `gate`. verdict: of the one selected."""
    selected = next(variant["name"] for variant in variants if variant["selected"])
    code = int(gate.exit_code(verdict.verdict))
    sealed = [variant | {"raw_sha256": _seal(variant, target)} for variant in map(dict, variants)]
    return {"variants": sealed, "gate": asdict(verdict) | {"variant": selected, "exit_code": code}}


def _seal(variant: Mapping[str, Any], target: Target) -> str | None:
    """None of a variant that was not built: there is nothing to hash."""
    if variant["path"] is None:
        return None
    return raw_sha256(variant, (variant.get("gate") or {}).get("checks") or (), target.model_dump(mode="json"))


def in_folder(folder: Path) -> Path | None:
    """The tokenizer.json of a run with texts."""
    path = folder / "tokenizer.json"
    return path if path.is_file() else None


def write_bundle(
    full: Mapping[str, Any],
    folder: Path,
    inputs: Inputs,
    *,
    target: Target,
    options: SessionOptions,
    isa: str,
    tested: Dataset | None = None,
) -> None:
    """Bundle the selected variant of the report `full`, both in `folder`, into folder/bundle.

    inputs: (n, ...) test samples in the network's own layout and type; 16 spread over them are bundled, their order
    may be by class. tested: the data set whose test split they are, for the files behind them.
    """
    selected = next(variant for variant in full["variants"] if variant["selected"])
    spread = np.linspace(0, len(inputs) - 1, min(BUNDLED_SAMPLES, len(inputs)), dtype=np.int64)
    bundle.write(
        folder / "bundle",
        model=folder / selected["path"],
        variant=selected["name"],
        options=replace(options, threads=options.threads_requested),  # the device's own, not this machine's cores
        classes=tuple(full["data"]["classes"]),
        target_toml=targets.dump(target),
        reports=[folder / file for file in report.FILES],
        inputs=inputs[spread],
        isa=isa,
        tokenizer=in_folder(folder),
        files={} if tested is None else _files(tested, spread),
    )


def _files(dataset: Dataset, places: npt.NDArray[np.int64]) -> dict[int, SampleFile]:
    """Row -> the file behind the test sample at that place, where the source has files and they are still there."""
    ids = dataset.test.ids
    if dataset.original is None or ids is None:
        return {}
    found = {}
    for row, place in enumerate(places.tolist()):
        with suppress(OSError):  # gone since it was read: the bundle says that its sample files are made of the numbers
            found[row] = dataset.original(str(ids[place]))
    return found
