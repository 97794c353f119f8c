"""How to open a session: as a target asks for it, or as a session.json of a bundle or of `edgekd tune` says."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import BadInputError, nearest

if TYPE_CHECKING:
    from edgekd.targets import Target

LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disable": "ORT_DISABLE_ALL",
}
"""Graph optimisation, and ONNX Runtime's own names of its levels."""

MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
"""Execution, and ONNX Runtime's own names of its modes."""

AFFINITIES = "session.intra_op_thread_affinities"
"""The entry that pins each intra-op thread but the caller's to processors of one machine, by their numbers there."""


ALLOW_SPINNING = "session.intra_op.allow_spinning"
STOP_SPINNING = "session.force_spinning_stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How to open a session: plain values, so that they travel to a child process and into the bundle as JSON.

    execution_mode: "sequential", or "parallel", which runs branches of the graph side by side on `inter_op_threads`.
    arena: whether the CPU's memory is kept for the next inference. mem_pattern: whether its plan is; ONNX Runtime has
    none in parallel mode. What else can be tuned are entries of session_config, such as session.dynamic_block_base.
    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html and memory.html beside it.
    """

    provider: str = "CPUExecutionProvider"
    threads: int = 1
    threads_requested: int = 1
    inter_op_threads: int = 1
    spinning: bool = False
    graph_optimization: str = "all"
    session_config: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, str] = field(default_factory=dict)
    execution_mode: str = "sequential"
    arena: bool = True
    mem_pattern: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The options as JSON-ready values."""
        return asdict(self)


def options_for(target: "Target", *, cores: int) -> SessionOptions:
    """The options that a target asks for, with no more threads than the `cores` granted to this process.

    More threads than cores wait for one another; the number asked for stays beside the number that ran.
    """
    return SessionOptions(
        provider=target.provider,
        threads=min(target.threads, cores),
        threads_requested=target.threads,
        inter_op_threads=target.inter_op_threads,
        spinning=target.spinning,
        graph_optimization=target.graph_optimization,
        session_config=dict(target.session_config),
        provider_options=dict(target.provider_options),
    )


def lingers(options: SessionOptions) -> bool:
    """Whether threads go on spinning when an inference is over, and so take a core from whatever runs next."""
    config = options.session_config
    allowed = config.get(ALLOW_SPINNING, "1" if options.spinning else "0") == "1"
    return allowed and max(options.threads, options.inter_op_threads) > 1 and config.get(STOP_SPINNING) != "1"


def within(options: SessionOptions, *, cores: int) -> SessionOptions:
    """The same with no more threads than `cores`; without pinned threads where their number changes.

    An affinity names one processor for each thread, so ONNX Runtime refuses a list of another length.
    """
    threads, inter = min(options.threads, cores), min(options.inter_op_threads, cores)
    if (threads, inter) == (options.threads, options.inter_op_threads):
        return options
    config = {key: value for key, value in options.session_config.items() if key != AFFINITIES}
    return replace(options, threads=threads, inter_op_threads=inter, session_config=config)


def read_options(path: Path) -> SessionOptions:
    """The options in a session.json, of a bundle or as `edgekd tune` writes it; what an older one lacks is at default.

    Raises:
        BadInputError: no such file, no JSON, no options in it, or options that are unknown or have no sense.
    """
    options = _options_of(read_session_file(path), path)
    wrong = {
        "threads": options.threads < 1 or options.inter_op_threads < 1,
        "graph_optimization": options.graph_optimization not in LEVELS,
        "execution_mode": options.execution_mode not in MODES,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            expected = {"graph_optimization": ", ".join(LEVELS), "execution_mode": ", ".join(MODES)}
            found = options.as_dict()[name]
            raise BadInputError(
                f"{path}: options.{name} is {found!r}; expected {expected.get(name, 'at least 1, each')}; "
                "write it again with `edgekd tune`"
            )
    return options


def read_session_file(path: Path) -> dict[str, Any]:
    """The whole of a session.json. Raises BadInputError: no such file, or no JSON object in it."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as err:
        raise BadInputError(
            f"{path}: cannot be read ({err.strerror}); expected a session.json of a bundle or of `edgekd tune`"
        ) from err
    except (ValueError, RecursionError) as err:
        raise BadInputError(f"{path}: holds no JSON ({err}); expected a session.json: write it again") from err
    if not isinstance(document, dict):
        raise BadInputError(f"{path}: holds no JSON object; expected a session.json: write it again")
    return document


def chosen_options(target: "Target", *, cores: int, session: Path | None) -> SessionOptions:
    """The options of a session.json where one is given, else the target's own; either with at most `cores` threads.

    Raises:
        BadInputError: no session options there, or those of another provider than the target's.
    """
    if session is None:
        return options_for(target, cores=cores)
    options = read_options(session)
    if options.provider != target.provider:
        raise BadInputError(
            f"{session}: is for {options.provider}, target {target.name} is for {target.provider}; choose the target "
            "that it was tuned for"
        )
    return within(options, cores=cores)


def _options_of(document: Mapping[str, Any], path: Path) -> SessionOptions:
    from pydantic import TypeAdapter, ValidationError

    given = document.get("options")
    if not isinstance(given, dict):
        raise BadInputError(f"{path}: holds no session options; expected 'options', as a bundle's session.json has it")
    known = [each.name for each in fields(SessionOptions)]
    for name in given:
        if name not in known:
            raise BadInputError(f"{path}: options.{name} is unknown{nearest(name, known)} (known: {', '.join(known)})")
    try:
        return TypeAdapter(SessionOptions).validate_json(json.dumps(given), strict=True)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in ("options", *first["loc"]))
        raise BadInputError(f"{path}: {where}: {first['msg'].lower()}; write it again with `edgekd tune`") from err
