"""A bundle from a finished run folder, of the winner or of another variant of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import bundle, report, session, targets
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.session import SessionOptions, read_options
from edgekd.session_options import read_session_file
from edgekd.targets import Target


def rebundle(run: Path, *, out: Path, variant: str | None, tuned: Path | None = None) -> bundle.Bundled:
    """Bundle `variant` (the winner where None) of the run in folder `run` into `out`.

    Its sample inputs are those of the run's own bundle: real test samples. tuned: a session.json of `edgekd tune`,
    whose options replace the target's; the outputs expected of the samples are made with them. The run's gate
    measured the target's own, so the new session.json and README.txt say where they are from and what they gained.

    Raises:
        BadInputError: no finished run there, no such variant, a file that is no longer the measured one, or options
            that were tuned for another file or target, or without an entry that the run's files need.
    """
    full = report.read(run / "report.json")
    name = variant or full["gate"]["variant"]
    files = {v["name"]: v["path"] for v in full["variants"] if v["path"]}
    if name not in files:
        raise BadInputError(f"{run}: has no variant '{name}'; it has: {', '.join(files)}")
    model = run / files[name]
    measured = next(v["sha256"] for v in full["variants"] if v["name"] == name)
    if not model.is_file() or sha256(model) != measured:
        raise BadInputError(f"{model}: is missing, or not the file that the report measured; run again")
    bundle.recover(run / "bundle")
    target = targets.Target.model_validate_json(json.dumps(full["target"]))
    options = _own_options(run, target)
    options, note = (options, None) if tuned is None else _tuned_options(tuned, options, target, measured)
    inputs = np.asarray(read_arrays(run / "bundle" / "samples.npz")["inputs"])
    files = bundle.again(run / "bundle", bundle.read_manifest(run / "bundle").sample_files)
    return bundle.write(
        out,
        model=model,
        variant=name,
        options=options,
        classes=tuple(full["data"]["classes"]),
        target_toml=targets.dump(target),
        reports=[run / file for file in report.FILES],
        inputs=inputs,
        isa=full["environment"]["isa"],
        tuned=note,
        tokenizer=run / "tokenizer.json" if (run / "tokenizer.json").is_file() else None,
        files=files,
    )


def _own_options(run: Path, target: Target) -> SessionOptions:
    """The target's, with the entries that the run added, such as the one that some int8 files are portable by."""
    options, path = session.options_for(target, cores=target.threads), run / "bundle" / "session.json"
    return replace(options, session_config=dict(read_options(path).session_config)) if path.is_file() else options


def _tuned_options(
    path: Path, own: SessionOptions, target: Target, model_sha256: str
) -> tuple[SessionOptions, dict[str, Any]]:
    """The tuned options, and what the file says of the tuning."""
    options, note = read_options(path), read_session_file(path).get("tuned")
    if not isinstance(note, dict):
        raise BadInputError(f"{path}: says nothing of a tuning; expected a session.json that `edgekd tune` wrote")
    if note.get("model_sha256") != model_sha256:
        raise BadInputError(
            f"{path}: was tuned for another file (SHA-256 {str(note.get('model_sha256'))[:12]}) than the variant's "
            f"({model_sha256[:12]}); tune the variant's own file"
        )
    if note.get("target") != target.name or options.provider != target.provider:
        raise BadInputError(
            f"{path}: was tuned for target '{note.get('target')}', the run is for '{target.name}'; tune for that one"
        )
    for key, value in own.session_config.items():
        if options.session_config.get(key) != value:
            raise BadInputError(
                f"{path}: was tuned without {key}={value}, which the run's files were measured with; tune with "
                f"--session-config {key}={value}"
            )
    return options, note
