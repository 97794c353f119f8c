"""JSON posted over http(s) to one host: time-outs, a rate, and further tries where the server may recover.

The standard library alone. What is tried again and when follows RFC 9110 (Retry-After: section 10.2.3) and RFC 6585
(429); the waits between tries are exponential with full jitter (M. Brooker, "Exponential Backoff and Jitter", AWS
Architecture Blog, 2015).
"""

import http.client
import math
import os
import random
import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from threading import Event, Lock
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit

from edgekd.errors import BadInputError, EnvironmentFault

LARGEST_ANSWER = 2**26
"""Bytes of an answer that are read at most: scores of a batch are thousands of times smaller."""

PIECE = 2**16
"""Bytes of an answer that are read between two looks at the clock."""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, 5.6.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often a server is asked.

    timeout_s: for one try, from connecting to the last byte. retries: further tries after one that failed.
    backoff_s: the wait before try n + 1 is drawn from 0 .. backoff_s * 2**n. max_wait_s: the longest wait between two
    tries, also of those that the server asks for. requests_per_second: None for no limit.
    """

    timeout_s: float = 60.0
    retries: int = 5
    backoff_s: float = 1.0
    max_wait_s: float = 60.0
    requests_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The body of a 200, and what it calls itself."""

    body: bytes
    content_type: str


class Stopped(Exception):  # noqa: N818  a wish, not a failure
    """The caller wants no further tries."""


class Client:
    """Posts to one URL; safe to use from several threads. Nothing of it is ever written to a file.

    Args:
        headers: name -> value, as sent; see `headers_from_environment`.

    Raises:
        BadInputError: the URL is not one of http(s), or carries a password.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str], patience: Patience) -> None:
        parts = check_url(url)
        self.url, self.shown = url, f"{parts.scheme}://{parts.netloc}{parts.path}"  # a query may hold a secret
        self.patience = patience
        self.pace = Pace(patience.requests_per_second)
        self._headers = {"User-Agent": "edgekd", "Content-Type": "application/json", "Accept": "application/json"}
        self._headers |= dict(headers)
        self._opener = _opener(parts)
        self._random = random.Random()

    def post(self, body: bytes, *, about: str, stop: Event) -> Answer:
        """The server's answer to `body`. about: what the request is for, to name it in messages.

        Raises:
            Stopped: `stop` was set while it waited.
            BadInputError: the server refuses the request (4xx), redirects elsewhere, or answers too much.
            EnvironmentFault: no answer after all tries, or the server asks to wait longer than max_wait_s.
        """
        reason = ""
        for attempt in range(self.patience.retries + 1):
            self.pace.turn(stop)
            found = self._once(body, about)
            if isinstance(found, Answer):
                return found
            reason = found.reason
            if attempt < self.patience.retries:
                self._wait(found, attempt, about, stop)
        tries = self.patience.retries + 1
        raise EnvironmentFault(
            f"{reason}, at try {tries} of {tries}, asked for {about}; expected scores. Is it up? Every answer "
            "so far is kept: run again to go on"
        )

    def _wait(self, failure: "_Failure", attempt: int, about: str, stop: Event) -> None:
        asked, longest = failure.retry_after_s, self.patience.max_wait_s
        if asked is not None and asked > longest:
            raise EnvironmentFault(
                f"{failure.reason}, and the endpoint wants {asked:.0f} s to pass before it is asked again for {about}; "
                f"teacher.endpoint.max_wait_s is {longest:g}. Every answer so far is kept: run again later, ask less "
                "often (requests_per_second), or raise max_wait_s"
            )
        pause = backoff(attempt, base_s=self.patience.backoff_s, longest_s=longest, draw=self._random.random())
        if asked is not None:  # all threads heed it, not only this one
            self.pace.hold(asked)
        if stop.wait(pause):
            raise Stopped

    def _once(self, body: bytes, about: str) -> "Answer | _Failure":
        request = urllib.request.Request(self.url, data=body, headers=self._headers, method="POST")
        until = time.monotonic() + self.patience.timeout_s
        try:
            with self._opener.open(request, timeout=self.patience.timeout_s) as response:
                content = _read(response, until)
                return Answer(body=content, content_type=response.headers.get_content_type())
        except HTTPError as err:
            with err:
                return self._refused(err, about)
        except (_Redirected, _TooMuch) as err:
            raise BadInputError(f"asked for {about}, the endpoint {err}") from err
        except TimeoutError:
            return _Failure(reason=f"no answer within {self.patience.timeout_s:g} s")
        except URLError as err:
            return self._unreachable(err)
        except (OSError, http.client.HTTPException) as err:
            return _Failure(reason=f"the connection broke ({type(err).__name__}: {err})")

    def _refused(self, err: HTTPError, about: str) -> "_Failure":
        """A failure that may pass, or the error that tells of one that will not."""
        said = f"HTTP {err.code} {err.reason}".rstrip()
        if err.code == http.client.TOO_MANY_REQUESTS or err.code >= http.client.INTERNAL_SERVER_ERROR:
            return _Failure(reason=said, retry_after_s=retry_after(err.headers.get("Retry-After"), now=_utc_now()))
        if err.code in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            hint = "Check the environment variables that teacher.endpoint.headers names"
        elif err.code == http.client.REQUEST_ENTITY_TOO_LARGE:
            hint = "Lower teacher.endpoint.batch_size"
        elif err.code in (http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED):
            hint = "Check teacher.endpoint.url: it is asked by POST"
        else:
            hint = "Does it take the request as docs/teachers.md has it?"
        raise BadInputError(f"answers {said} when asked for {about}{quoted(_start(err))}; expected scores. {hint}")

    def _unreachable(self, err: URLError) -> "_Failure":
        if isinstance(err.reason, TimeoutError):
            return _Failure(reason=f"no answer within {self.patience.timeout_s:g} s")
        if isinstance(err.reason, ssl.SSLCertVerificationError):
            raise EnvironmentFault(
                f"the endpoint's certificate is not trusted ({err.reason.verify_message}); expected one of a known "
                "authority. For a private one set SSL_CERT_FILE to its PEM file"
            ) from err
        return _Failure(reason=f"cannot be reached ({err.reason})")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a try failed that may be repeated."""

    reason: str
    retry_after_s: float | None = None


class _Redirected(Exception):  # noqa: N818
    """The server points elsewhere."""


class _TooMuch(Exception):  # noqa: N818
    """The answer is larger than any batch of scores."""


class Pace:
    """Lets requests through one by one, at most so many a second; `hold` lets none through for a while.

    per_second: None for no limit. now: a clock in seconds.
    """

    def __init__(self, per_second: float | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self.gap_s = 0.0 if per_second is None else 1.0 / per_second
        self.now, self.lock, self.next = now, Lock(), -math.inf

    def reserve(self) -> float:
        """Takes the next turn; seconds until it comes."""
        with self.lock:
            now = self.now()
            start = max(now, self.next)
            self.next = start + self.gap_s
            return start - now

    def hold(self, seconds: float) -> None:
        """No turn begins before so many seconds from now."""
        with self.lock:
            self.next = max(self.next, self.now() + seconds)

    def turn(self, stop: Event) -> None:
        """Waits for its turn. Raises Stopped when `stop` is set before."""
        if stop.wait(self.reserve()):
            raise Stopped


def backoff(attempt: int, *, base_s: float, longest_s: float, draw: float) -> float:
    """Seconds to wait after failed try number `attempt`, from 0: full jitter. draw: uniform in [0, 1)."""
    return draw * min(longest_s, base_s * 2.0 ** min(attempt, 60))


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait, from a number or an HTTP date; None where it says neither."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None


def check_url(url: str) -> SplitResult:
    """The parts of an http(s) URL that names a host and no user.

    Raises:
        BadInputError: any other.
    """
    try:
        parts = urlsplit(url)
        port_is_sound = parts.port != 0
    except ValueError as err:
        raise BadInputError(f"teacher.endpoint.url is not a URL ({err}); expected https://host/path") from err
    if parts.scheme not in ("http", "https"):
        raise BadInputError(
            f"teacher.endpoint.url = '{url}' is of scheme '{parts.scheme}'; expected http://host/path or "
            "https://host/path"
        )
    if parts.username is not None or parts.password is not None:
        raise BadInputError(
            "teacher.endpoint.url holds a user name or password, which would be written into reports; put it into an "
            "environment variable and name that: headers = { Authorization = 'VARIABLE' }"
        )
    if not parts.hostname or not port_is_sound or not url.isascii() or re.search(r"[\x00-\x20\x7f]", url):
        raise BadInputError(f"teacher.endpoint.url = {url!r} is not whole; expected https://host/path, in ASCII")
    return parts


def headers_from_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Headers whose values stand in environment variables. variables: header -> name of a variable.

    Raises:
        BadInputError: no such header can be.
        EnvironmentFault: a variable is not set, or its value cannot be sent; the value is not shown.
    """
    found = {}
    for header, variable in variables.items():
        if not TOKEN.fullmatch(header):
            raise BadInputError(f"teacher.endpoint.headers: {header!r} is no header; expected a name as Authorization")
        value = os.environ.get(variable)
        if not value:
            raise EnvironmentFault(
                f"teacher.endpoint.headers: {header} comes from the environment variable {variable}, which is not set; "
                f"set it: export {variable}='...'"
            )
        if not re.fullmatch(r"[\x20-\x7e]+", value):
            raise EnvironmentFault(
                f"teacher.endpoint.headers: the environment variable {variable} holds a line break or a letter outside "
                "ASCII; expected one line. Set it again"
            )
        found[header] = value
    return found


def quoted(text: str) -> str:
    """The beginning of what a server said, for a message: `: 'no such model'`; nothing of nothing."""
    words = " ".join(text.split())
    return f": {words[:120]!r}" if words else ""


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect that repeats the POST on the same host; any other would send data and headers elsewhere."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The POST at its new place. Raises _Redirected for another host, or a redirect that would lose the POST."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        fp.close()
        if new.hostname != old.hostname or (new.scheme, new.port) != (old.scheme, old.port):
            raise _Redirected(
                f"redirects to another host, {new.scheme}://{new.netloc}; that is refused: the recipe does not name "
                "it. Set teacher.endpoint.url to where the scores are"
            )
        if code not in (http.client.TEMPORARY_REDIRECT, http.client.PERMANENT_REDIRECT):
            raise _Redirected(
                f"HTTP {code} redirects to {new.path}, which drops what was posted; set teacher.endpoint.url to the "
                "new place"
            )
        kept = dict(req.header_items())
        return urllib.request.Request(newurl, data=req.data, headers=kept, method="POST")


def _opener(parts: SplitResult) -> urllib.request.OpenerDirector:
    """What opens http and https, and nothing else: the default one would also read local files."""
    opener = urllib.request.OpenerDirector()
    handlers: list[Any] = [
        urllib.request.ProxyHandler({} if _is_loopback(parts.hostname or "") else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _SameHost(),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    """The whole body. A server that sends a byte now and then meets the time-out too."""
    content = bytearray()
    while piece := response.read1(PIECE):
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise _TooMuch(f"answers more than {LARGEST_ANSWER >> 20} MiB; expected scores")
        if time.monotonic() > until:
            raise TimeoutError
    if response.length:  # `read1` does not say that fewer bytes came than were announced
        raise http.client.IncompleteRead(bytes(content), response.length)
    return bytes(content)


def _start(err: HTTPError) -> str:
    """The beginning of an error's body."""
    try:
        return err.read(400).decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _utc_now() -> datetime:
    return datetime.now(UTC)
