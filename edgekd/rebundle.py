"""A bundle from a finished run folder, of the winner or of another variant of it."""

import json
from pathlib import Path

import numpy as np

from edgekd import bundle, report, session, targets
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError
from edgekd.files import sha256


def rebundle(run: Path, *, out: Path, variant: str | None) -> bundle.Bundled:
    """Bundle `variant` (the winner where None) of the run in folder `run` into `out`.

    Its sample inputs are those of the run's own bundle: real test images.

    Raises:
        BadInputError: no finished run there, no such variant, or a file that is no longer the measured one.
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
    return bundle.write(
        out,
        model=model,
        variant=name,
        options=session.options_for(target, cores=target.threads),
        classes=tuple(full["data"]["classes"]),
        target_toml=targets.dump(target),
        reports=[run / file for file in report.FILES],
        inputs=np.asarray(read_arrays(run / "bundle" / "samples.npz")["inputs"]),
        isa=full["environment"]["isa"],
    )
