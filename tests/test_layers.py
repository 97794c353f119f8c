"""Dependencies point one way: a new module gets a line in LAYERS, and may import what MAY_IMPORT says."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = {"edgekd": "edgekd", "cli": "edgekd.cli", "models": "edgekd.models", "targets": "edgekd.targets"}
"""Source folder -> the package it installs as."""

LAYERS = {
    # the leaves
    "edgekd": "errors",
    "edgekd.errors": "errors",
    "edgekd.files": "shared",
    "edgekd.progress": "shared",
    "edgekd.statistics": "shared",
    "edgekd.machine": "shared",
    "edgekd.alone": "shared",
    "edgekd.environment": "shared",
    "edgekd.recheck": "shared",
    "edgekd.store": "shared",
    "edgekd.result": "shared",
    "edgekd.strict_json": "shared",
    "edgekd.teacher_logits": "shared",
    "edgekd.recorded": "shared",
    "edgekd.fidelity": "shared",
    "edgekd.rows": "shared",
    "edgekd.decoded": "shared",
    "edgekd.class_scores": "shared",
    "edgekd.label_scores": "shared",
    "edgekd.label_counts": "shared",
    "edgekd.stored_tensors": "shared",
    # what stages are made of
    "edgekd.core": "core",
    "edgekd.models": "models",
    "edgekd.targets": "targets",
    "edgekd.data": "data",
    "edgekd.session": "runtime",
    "edgekd.session_options": "runtime",
    "edgekd.runner": "runtime",
    "edgekd.kernels": "runtime",
    "edgekd.operators": "runtime",
    "edgekd.timing": "runtime",
    "edgekd.instructions": "runtime",
    "edgekd.isa": "runtime",
    "edgekd.front": "runtime",
    "edgekd.network": "runtime",
    "edgekd.pixels": "runtime",
    # the stages, in the order of the data flow
    "edgekd.teachers": "runtime",
    "edgekd.teacher": "stage",
    "edgekd.distill": "stage",
    "edgekd.export": "stage",
    "edgekd.quantize": "stage",
    "edgekd.accuracy": "stage",
    "edgekd.latency": "stage",
    "edgekd.gate": "stage",
    "edgekd.report": "stage",
    "edgekd.roofline": "stage",
    "edgekd.bundle": "stage",
    # what puts stages together
    "edgekd.recipe": "recipe",
    "edgekd.compete": "composition",
    "edgekd.label_task": "composition",
    "edgekd.cycles": "composition",
    "edgekd.versus": "composition",
    "edgekd.counted": "composition",
    "edgekd.budget": "composition",
    "edgekd.qat": "composition",
    "edgekd.starter": "composition",
    "edgekd.starter_series": "composition",
    "edgekd.starter_audio": "composition",
    "edgekd.starter_text": "composition",
    "edgekd.starter_gate": "composition",
    "edgekd.deploy": "composition",
    "edgekd.rebundle": "composition",
    "edgekd.baseline": "composition",
    "edgekd.tune": "composition",
    "edgekd.fit": "composition",
    "edgekd.fit_student": "whole",
    "edgekd.teacher_kinds": "whole",
    "edgekd.settings": "whole",
    "edgekd.keys": "whole",
    "edgekd.training": "whole",
    "edgekd.assemble": "whole",
    "edgekd.prepare": "whole",
    "edgekd.rejudge": "whole",
    "edgekd.ci": "whole",
    "edgekd.verdicts": "whole",
    "edgekd.pipeline": "whole",
    "edgekd.study": "whole",
    "edgekd.language": "whole",
    "edgekd.language.text": "data",
    "edgekd.language.vocabulary": "data",
    "edgekd.language.corpus": "runtime",
    "edgekd.language.runtime": "runtime",
    "edgekd.language.score": "runtime",
    "edgekd.cli": "cli",
}
"""A module, or a package with all below it -> its layer. The longest match counts; `edgekd` is its __init__ alone."""

PARTS = frozenset({"errors", "shared", "core", "models", "targets", "data", "runtime"})

MAY_IMPORT = {
    "errors": {"errors"},
    "shared": {"errors", "shared"},
    "core": {"errors"},
    "models": {"errors"},
    "targets": {"errors"},
    "data": {"errors", "shared"},
    "runtime": {"errors", "shared", "core", "models", "targets", "data", "runtime"},
    "stage": PARTS,
    "recipe": {"errors", "data"},
    "composition": PARTS | {"stage", "composition"},
    "whole": PARTS | {"stage", "composition", "recipe", "whole"},
    "cli": PARTS | {"stage", "composition", "recipe", "whole"},
}
"""Layer -> the layers it may import. Within one line of LAYERS everything is allowed."""

TORCH_FREE = (
    "edgekd.errors",
    "edgekd.files",
    "edgekd.progress",
    "edgekd.statistics",
    "edgekd.machine",
    "edgekd.alone",
    "edgekd.environment",
    "edgekd.recheck",
    "edgekd.store",
    "edgekd.strict_json",
    "edgekd.teacher_logits",
    "edgekd.recorded",
    "edgekd.fidelity",
    "edgekd.rows",
    "edgekd.decoded",
    "edgekd.class_scores",
    "edgekd.label_scores",
    "edgekd.label_counts",
    "edgekd.stored_tensors",
    "edgekd.kernels",
    "edgekd.operators",
    "edgekd.roofline",
    "edgekd.timing",
    "edgekd.instructions",
    "edgekd.isa",
    "edgekd.models",
    "edgekd.targets",
    "edgekd.data",
    "edgekd.session",
    "edgekd.session_options",
    "edgekd.runner",
    "edgekd.quantize",
    "edgekd.accuracy",
    "edgekd.latency",
    "edgekd.gate",
    "edgekd.report",
    "edgekd.bundle",
    "edgekd.recipe",
    "edgekd.compete",
    "edgekd.cycles",
    "edgekd.versus",
    "edgekd.counted",
    "edgekd.budget",
    "edgekd.result",
    "edgekd.verdicts",
    "edgekd.rejudge",
    "edgekd.starter",
    "edgekd.starter_series",
    "edgekd.starter_audio",
    "edgekd.starter_text",
    "edgekd.ci",
    "edgekd.baseline",
    "edgekd.rebundle",
    "edgekd.tune",
    "edgekd.fit",
    "edgekd.fit_student",
    "edgekd.teachers",
    "edgekd.teacher_kinds",
    "edgekd.settings",
    "edgekd.keys",
    "edgekd.assemble",
    "edgekd.prepare",
    "edgekd.pipeline",
    "edgekd.language.run",
    "edgekd.language.recipe",
    "edgekd.language.speed",
    "edgekd.cli.app",
)
"""What a board without torch imports, and what `edgekd --help` loads."""


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module that installs."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, for type checking alone too, by full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}:{node.lineno}: relative import; write the full name"
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules() else node.module for name in full)


@cache
def line_of(module: str) -> str | None:
    """The line of LAYERS that a module belongs to."""
    matches = [line for line in LAYERS if module == line or (line != "edgekd" and module.startswith(line + "."))]
    return max(matches, key=len, default=None)


@cache
def all_imports() -> tuple[tuple[str, str], ...]:
    """(importer, imported) for every import of any module by one of edgekd."""
    return tuple((name, other) for name, path in modules().items() for other in imports(path))


@cache
def edges() -> tuple[tuple[str, str], ...]:
    """(importer, imported) for every import of one module of edgekd by another."""
    return tuple((name, other) for name, other in all_imports() if other in modules())


def test_every_module_has_a_layer() -> None:
    missing = [name for name in modules() if line_of(name) is None]
    assert not missing, f"without a layer: {missing}; give each a line in LAYERS"


def test_every_line_of_the_tables_is_a_module_that_exists() -> None:
    assert set(LAYERS) | set(TORCH_FREE) <= set(modules())
    assert set(LAYERS.values()) == set(MAY_IMPORT)


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_layers_below_it(layer: str) -> None:
    wrong = []
    for importer, imported in edges():
        line, other = line_of(importer), line_of(imported)
        if line is None or other is None or line == other or LAYERS[line] != layer:
            continue
        if LAYERS[other] not in MAY_IMPORT[layer]:
            wrong.append(f"{importer} ({layer}) imports {imported} ({LAYERS[other]})")
    assert not wrong, "\n".join(wrong)


def test_the_lines_of_the_table_import_each_other_without_a_cycle() -> None:
    graph = {line: {line_of(o) for i, o in edges() if line_of(i) == line and line_of(o) != line} for line in LAYERS}
    while ready := [line for line, needs in graph.items() if not needs & graph.keys()]:
        for line in ready:
            del graph[line]
    assert not graph, f"these import each other in a circle: {sorted(graph)}"


def test_typer_and_rich_are_used_by_the_command_line_alone() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, other in all_imports()
        if other.split(".")[0] in ("typer", "rich") and not name.startswith("edgekd.cli")
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_for_boards_without_torch_import_none() -> None:
    check = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    names = [name for name in TORCH_FREE if name in modules()]
    done = subprocess.run([sys.executable, "-c", check, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
