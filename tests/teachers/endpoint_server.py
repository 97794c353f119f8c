"""A real HTTP server on this machine that scores pictures of bars, or fails on purpose, and counts what it is asked."""

import base64
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

Said = dict[str, Any]


@dataclass(slots=True)
class Reaction:
    """What the server does instead of scoring. change: makes another answer of the right one; cut: bytes kept back."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    change: Callable[[Said], Said] = lambda answer: answer
    sleep_s: float = 0.0
    drip_s: float = 0.0
    cut: int = 0


@dataclass(slots=True)
class Server:
    """A running server. script: reactions to the next requests, the last one for ever; empty: it scores."""

    url: str
    script: deque[Reaction]
    requests: list[Said]
    headers: list[dict[str, str]]
    times: list[float]
    lock: Lock
    at_once: int = 0
    most_at_once: int = 0

    def asked(self) -> Counter[str]:
        """How often each item was asked for."""
        return Counter(name for request in self.requests for name in request["ids"])


def scores(pixels: npt.NDArray[np.uint8], *, classes: int = 3) -> npt.NDArray[np.float64]:
    """(n, classes): how much brighter each band of rows is than the picture; tells `draw`'s bars apart."""
    size = pixels.shape[1]
    bands = [pixels[:, k * size // classes : (k + 1) * size // classes].mean(axis=(1, 2, 3)) for k in range(classes)]
    return np.asarray((np.stack(bands, axis=1) - pixels.mean(axis=(1, 2, 3))[:, None]) / 10.0)


def inputs_of(request: Said) -> npt.NDArray[Any]:
    """The array in a request, as docs/teachers.md has it."""
    kind = np.dtype(request["dtype"]).newbyteorder("<")
    if isinstance(request["inputs"], str):
        return np.frombuffer(base64.b64decode(request["inputs"]), kind).reshape(request["shape"])
    return np.array(request["inputs"], kind).reshape(request["shape"])


@contextmanager
def serving(*script: Reaction, score: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = scores) -> Iterator[Server]:
    """A server on a free port of 127.0.0.1 while inside."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with server.lock:
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
                server.times.append(time.monotonic())
                reaction = server.script[0] if server.script else Reaction()
                if len(server.script) > 1:
                    server.script.popleft()
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(request)
                server.headers.append(dict(self.headers))
            time.sleep(reaction.sleep_s)
            with server.lock:  # before the answer: whoever has it may ask again at once
                server.at_once -= 1
            self.answer(reaction, request)

        def answer(self, reaction: Reaction, request: Said) -> None:
            body = reaction.body
            if body is None:
                answer = reaction.change({"scores": score(inputs_of(request)).tolist()})
                body = json.dumps(answer).encode()
            self.send_response(reaction.status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in {"Content-Type": "application/json", **reaction.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in [body] if not reaction.drip_s else [bytes([b]) for b in body]:
                    self.wfile.write(piece[: len(piece) - reaction.cut])
                    self.wfile.flush()
                    time.sleep(reaction.drip_s)
            except OSError:  # the client gave up
                pass

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing: stderr is the tests'."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what some tests are about."""

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        server = Server(
            url=f"http://127.0.0.1:{listening.server_port}/v1/scores",
            script=deque(script),
            requests=[],
            headers=[],
            times=[],
            lock=Lock(),
        )
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
