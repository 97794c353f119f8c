"""Whether two documents may be compared at all: of the same model, target and conditions, on like machines."""

from collections.abc import Mapping
from typing import Any

from edgekd.baseline.document import REPORT, Document
from edgekd.environment import Environment
from edgekd.errors import BadInputError

CONDITIONS = ("batch_size", "threads", "provider", "spinning", "isolated", "options")
COUNTED = ("batch_size", "provider", "onnxruntime", "graph_optimization", "session_config")
"""What instructions depend on: not the machine, only which kernels ran. Who counted, on which instruction set and which
inputs, stands in the count itself, and `edgekd.instructions.compare_counts` refuses what differs there."""

KERNELS = ("ISA", "ONNX Runtime")
"""What decides which kernels run: a reference workload tells how fast a machine is, not how much a kernel gained."""

SAVE = "save a new baseline there with `edgekd baseline save`"


def check_same(new: Document, base: Document, *, normalise: bool) -> None:
    """Raise BadInputError unless a difference between the two can only come from the file.

    normalise: the times are divided by the reference's, so another machine of the same instruction set may do.
    """
    _check_subject(new, base)
    _check_conditions(new, base)
    if new.metric == "instructions":
        if normalise:
            raise BadInputError(
                "--normalise is for times; instructions do not depend on the machine's speed: remove it"
            )
        return
    _check_machine(new.environment, base.environment, normalise=normalise)
    if normalise:
        _check_reference(new, base)


def differing(new: Environment, base: Environment) -> dict[str, tuple[str, str]]:
    """The fields of the fingerprint in which the two machines differ: name -> (new, base)."""
    ours, theirs = _fields(new), _fields(base)
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def conditions(document: Document) -> dict[str, Any]:
    """Under which conditions it was measured; of a report, those of its latency, empty where it was not timed."""
    if document.variant is None:
        return dict(document.found["conditions"])
    latency = document.variant["latency"] or {}
    names = ("batch_size", "threads", "threads_requested", "provider", "spinning", "isa", "onnxruntime")
    return {name: latency.get(name) for name in names} | {"inputs": (document.found["data"] or {}).get("source")}


def _check_subject(new: Document, base: Document) -> None:
    pairs = {"model": (new.name, base.name), "target": (new.target, base.target), "metric": (new.metric, base.metric)}
    for what, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise BadInputError(
                f"{new.where} is of {what} {ours!r}, {base.where} of {theirs!r}; expected the same: compare with its "
                "own baseline, see `edgekd baseline list`"
            )
    if new.found["target"] != base.found["target"]:
        raise BadInputError(
            f"target {new.target} is not what it was when {base.where} was saved; measure with that one, or {SAVE}"
        )


def _check_conditions(new: Document, base: Document) -> None:
    ours, theirs = (_with_options(conditions(document)) for document in (new, base))
    if new.metric == REPORT:
        _check_data(new, base)
        if ours["threads"] is None or theirs["threads"] is None:
            return  # not timed
    for name in COUNTED if new.metric == "instructions" else CONDITIONS:
        if ours.get(name) != theirs.get(name):
            raise BadInputError(
                f"{name} is {ours.get(name)!r} in {new.where}, {theirs.get(name)!r} in {base.where}; expected the "
                f"same: measure under the same conditions, or {SAVE}"
            )
    if new.metric == "time" and ours.get("feeds") != theirs.get("feeds"):
        raise BadInputError(
            f"{new.where} was measured on other inputs ({ours.get('inputs')}) than {base.where} "
            f"({theirs.get('inputs')}); expected the same: measure on those, or {SAVE}"
        )


def _with_options(found: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions, and what of the session's options decides on kernels beside them."""
    options = found.get("options") or {}
    return {name: options.get(name) for name in ("graph_optimization", "session_config")} | dict(found)


def _check_data(new: Document, base: Document) -> None:
    for name in ("content_hash", "index_hash"):
        ours, theirs = ((document.found["data"] or {}).get(name) for document in (new, base))
        if ours != theirs:
            raise BadInputError(
                f"{new.where} and {base.where} were tested on other samples (data.{name} {str(ours)[:12]}, stored "
                f"{str(theirs)[:12]}); expected the same: test on those, or {SAVE}"
            )


def _check_machine(new: Environment, base: Environment, *, normalise: bool) -> None:
    found = differing(new, base)
    names = ", ".join(f"{name} ({ours}, stored {theirs})" for name, (ours, theirs) in found.items())
    if found and not normalise:
        raise BadInputError(
            f"the baseline was measured on another machine: {names}; expected the same fingerprint: measure there, "
            f"{SAVE.replace('there', 'here')}, or divide by the reference workload with --normalise"
        )
    kernels = [name for name in KERNELS if name in found]
    if kernels:
        raise BadInputError(
            f"the baseline was measured with other kernels: {names}; --normalise corrects for how fast a machine is, "
            f"not for {' and '.join(kernels)}: {SAVE.replace('there', 'here')}"
        )


def _check_reference(new: Document, base: Document) -> None:
    if new.metric == REPORT:
        raise BadInputError(
            "--normalise needs a reference workload, and a report.json has none; compare results of `edgekd latency`"
        )
    ours, theirs = new.found["base"], base.found["base"]
    if ours is None or theirs is None or ours["sha256"] != theirs["sha256"]:
        raise BadInputError(
            "the two were not measured beside the same reference workload; expected the same for --normalise: measure "
            "both with one version of edgekd"
        )


def _fields(environment: Environment) -> dict[str, str]:
    """As `edgekd.environment.fingerprint` takes them."""
    runtime = [f"{name} {environment.packages[name]}" for name in ("onnxruntime", "onnxruntime-gpu")
               if name in environment.packages]  # fmt: skip
    return {
        "CPU model": environment.cpu_model,
        "ISA": environment.isa,
        "cores granted": str(environment.cores_granted),
        "ONNX Runtime": ", ".join(runtime) or "none",
        "Python": ".".join(environment.python.split(".")[:2]),
    }
