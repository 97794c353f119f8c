"""`python -m edgekd.study.worker`: trains one cell after the other, as asked on stdin, and answers on stdout.

One process for many cells: torch is imported once, not once a cell. A request is a line of JSON, {"recipe": path,
"folder": path}; an answer is a line with "kind" progress, trained or failed. A bug ends the process with its traceback.
"""

import json
import os
import queue
import threading
from pathlib import Path
from typing import Any, TextIO

from edgekd import pipeline
from edgekd import recipe as recipes
from edgekd.errors import EdgekdError, ExitCode
from edgekd.machine import share_cores
from edgekd.progress import Progress


def main() -> None:
    """Answer requests until stdin is closed."""
    share_cores()
    answers = _own_stdout()
    requests: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        request = requests.get()
        _say(answers, **train(Path(request["recipe"]), Path(request["folder"]), _Teller(answers)))


def train(recipe: Path, folder: Path, listener: "_Teller") -> dict[str, Any]:
    """The answer to one request; what was trained before under the same contents is not trained again."""
    try:
        outcome = pipeline.run(recipes.load(recipe), folder=folder, until="distill", listener=listener)
    except EdgekdError as err:
        return _failed(str(err), err.exit_code)
    except MemoryError:
        return _failed("out of memory; lower the batch size or --jobs", ExitCode.ENVIRONMENT)
    except OSError as err:
        return _failed(f"{err}; free space, or choose another folder with --out", ExitCode.ENVIRONMENT)
    wanted = {key: outcome.report[key] for key in ("teacher", "student") if key in outcome.report}
    return {"kind": "trained", "report": wanted, "cached": "distill" in outcome.cached}


class _Teller:
    """Passes progress on, a line a hundredth."""

    def __init__(self, answers: TextIO) -> None:
        self.answers = answers
        self.last: tuple[str, int] = ("", -1)

    def __call__(self, progress: Progress) -> None:
        fraction = progress.done / progress.total if progress.total else 1.0
        if self.last != (now := (progress.stage, int(100 * fraction))):
            self.last = now
            _say(self.answers, kind="progress", stage=progress.stage, fraction=fraction)


def _failed(message: str, code: ExitCode) -> dict[str, Any]:
    return {"kind": "failed", "message": message, "exit_code": int(code)}


def _say(answers: TextIO, **answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _own_stdout() -> TextIO:
    """The real stdout, for answers alone: what a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _listen(requests: "queue.SimpleQueue[dict[str, str]]") -> None:
    """Take requests in. A closed stdin means that whoever asks has ended, perhaps killed: then so does this process.

    The run folder bears that at any moment, and nobody is left who would hold its lock.
    """
    with open(0, "rb", buffering=0) as stdin:  # unbuffered: a lock would block the exit
        while (line := stdin.readline()).endswith(b"\n"):
            requests.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
