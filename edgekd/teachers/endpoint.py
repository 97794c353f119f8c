"""A teacher behind an HTTP endpoint: scores as JSON, asked for in batches, and every answer kept for good.

The request and the answer are written down in docs/teachers.md. What was answered is kept under the hash of the
question's content, so a run that was killed, or whose endpoint went down, asks only for what is missing.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Listener, Progress, silent
from edgekd.rows import Inputs
from edgekd.teachers.answers import Answers, Head
from edgekd.teachers.endpoint_form import Form, Reply, content_key, read, request
from edgekd.teachers.http import Client, Patience, headers_from_environment
from edgekd.teachers.interface import Ids, Opened


def open_endpoint(
    url: str,
    *,
    headers: Mapping[str, str],
    form: Form,
    patience: Patience,
    folder: Path,
    version: str,
    sample: Inputs,
    listener: Listener = silent,
) -> Opened:
    """The teacher at `url`, asked for the scores of one sample unless it was asked before.

    Args:
        headers: header -> the environment variable that holds its value.
        folder: where answers are kept, of all endpoints, each below its own name.
        version: what tells two models behind one URL apart; answers of another version are not used.
        sample: (1, ...), one of the data's inputs.

    Raises:
        BadInputError: what `Client` raises, or an answer that holds no scores.
        EnvironmentFault: a variable is not set, the endpoint does not answer, or the disk is full.
    """
    client = Client(url, headers=headers_from_environment(headers), patience=patience)
    answers = Answers(folder / identity(url, version=version)[:32])
    teacher = Endpoint(client, answers, form=form, listener=listener)
    try:
        teacher.ask(sample, None)
    except (BadInputError, EnvironmentFault) as err:
        raise type(err)(f"teacher {client.shown}: {err}") from err
    classes = answers.head.classes if answers.head else None
    return Opened(name=client.shown, ask=teacher.ask, classes=classes, by_sample=True)


def identity(url: str, *, version: str) -> str:
    """SHA-256 of what decides the answers, as far as anyone here can know."""
    return hashlib.sha256(json.dumps(["endpoint", url, version]).encode()).hexdigest()


class Endpoint:
    """Answers for inputs: from what is kept, else from the server."""

    def __init__(self, client: Client, answers: Answers, *, form: Form, listener: Listener = silent) -> None:
        self.client, self.answers, self.form, self.listener = client, answers, form, listener

    def ask(self, inputs: Inputs, ids: Ids | None) -> npt.NDArray[np.float32]:
        """The scores (n, width) of inputs (n, ...), as the server gives them. ids: names for the server and messages.

        Raises:
            BadInputError: an answer is malformed, or the server refuses a request; the item is named.
            EnvironmentFault: the server does not answer, or the disk is full.
        """
        keys = [content_key(one) for one in inputs]
        names = [key.hex()[:16] for key in keys] if ids is None else [str(name) for name in ids]
        missing = self.answers.missing(keys)
        if missing:
            size = self.form.batch_size
            batches = [missing[start : start + size] for start in range(0, len(missing), size)]
            self._fetch([_Batch.of(places, inputs, names, keys) for places in batches])
        return self.answers.scores(keys)

    def _fetch(self, batches: "Sequence[_Batch]") -> None:
        """Ask for all batches, a few at a time, and keep each answer as it comes."""
        total, done, started = sum(len(batch.keys) for batch in batches), 0, time.monotonic()
        for batch, reply in self._replies(batches):
            self._keep(batch, reply)
            done += len(batch.keys)
            if total > self.form.batch_size:
                note = left(done, total, seconds=time.monotonic() - started)
                self.listener(Progress(stage="asking", done=done, total=total, note=note))

    def _replies(self, batches: "Sequence[_Batch]") -> "Iterator[tuple[_Batch, Reply]]":
        """Each batch with its reply, in the order in which they come.

        Where one fails, those under way are still given out: they were paid for. Threads of our own, as daemons: those
        of an executor would hold up a process that was interrupted until the server answers.
        """
        todo, found = SimpleQueue[_Batch](), SimpleQueue[tuple[_Batch, Reply | BaseException]]()
        stop, failed = Event(), list[BaseException]()
        for batch in batches:
            todo.put(batch)

        def work() -> None:
            while not stop.is_set():
                try:
                    batch = todo.get_nowait()
                except Empty:
                    return
                try:
                    found.put((batch, self._exchange(batch, stop)))
                except BaseException as err:  # noqa: BLE001  raised again in the caller's thread
                    stop.set()
                    found.put((batch, err))

        threads = [Thread(target=work, daemon=True) for _ in range(min(self.form.concurrency, len(batches)))]
        for thread in threads:
            thread.start()
        try:
            for _ in batches:
                batch, reply = found.get()
                if isinstance(reply, BaseException):
                    failed.append(reply)
                    break
                yield batch, reply
        finally:
            stop.set()
        for thread in threads:
            thread.join()
        while not found.empty():
            batch, reply = found.get()
            if isinstance(reply, Reply):
                yield batch, reply
        if failed:
            raise failed[0]

    def _exchange(self, batch: "_Batch", stop: Event) -> Reply:
        answer = self.client.post(request(batch.inputs, batch.names, self.form), about=batch.about, stop=stop)
        reply = read(answer, names=batch.names, scores_key=self.form.scores_key)
        self._agree(batch, reply)
        return reply

    def _keep(self, batch: "_Batch", reply: Reply) -> None:
        if self.answers.head is None:
            head = Head(width=reply.scores.shape[1], classes=reply.classes, endpoint=self.client.shown)
            self.answers.begin(head)
            self._agree(batch, reply)  # another process may have begun with other answers
        self.answers.put(batch.keys, reply.scores)

    def _agree(self, batch: "_Batch", reply: Reply) -> None:
        """Refuse an answer of another shape or order than the first."""
        head, width = self.answers.head, reply.scores.shape[1]
        if head is None:
            return
        if width != head.width:
            raise BadInputError(
                f"answers {width} scores for {batch.about}, and {head.width} before; expected one number of classes. "
                "Is it another model now? Then set teacher.endpoint.version to a new name"
            )
        if reply.classes != head.classes:
            raise BadInputError(
                f"calls its columns {_names(reply.classes)} for {batch.about}, and {_names(head.classes)} before; "
                "expected one order. Is it another model now? Then set teacher.endpoint.version to a new name"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What one request asks for."""

    inputs: npt.NDArray[Any]
    names: list[str]
    keys: list[bytes]

    @classmethod
    def of(cls, places: list[int], inputs: Inputs, names: list[str], keys: list[bytes]) -> "_Batch":
        """The batch of these places."""
        return cls(inputs=inputs[places], names=[names[i] for i in places], keys=[keys[i] for i in places])

    @property
    def about(self) -> str:
        """The items, for messages."""
        if len(self.names) == 1:
            return f"item '{self.names[0]}'"
        return f"{len(self.names)} items, '{self.names[0]}' to '{self.names[-1]}'"


def left(done: int, total: int, *, seconds: float) -> str:
    """How fast answers come and how long the rest takes: `12.5/s, 4:10 left`."""
    rate = done / max(seconds, 1e-9)
    rest = round((total - done) / rate)
    hours, minutes = divmod(rest // 60, 60)
    clock = f"{hours}:{minutes:02d}:{rest % 60:02d}" if hours else f"{minutes}:{rest % 60:02d}"
    return f"{rate:.1f}/s, {clock} left"


def _names(classes: tuple[str, ...] | None) -> str:
    return "nothing" if classes is None else ", ".join(classes[:6]) + (" …" if len(classes) > 6 else "")
