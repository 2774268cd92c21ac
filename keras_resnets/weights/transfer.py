"""Downloads one file over HTTP, bounded in size, time and redirects."""

import contextlib
import http.client
import re
import string
import threading
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable

# Seconds without a byte after which the connection counts as lost.
TIMEOUT = 30
# Bytes that must arrive in `TIMEOUT` seconds: a modem delivers ten times as many, and a
# server that sends a byte a second would take a year.
LEAST = 1 << 16
# GitHub's releases need one, the hub two.
REDIRECTS = 3
CHUNK = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")
_TAG = re.compile(r"[\x20-\x7e]{1,200}")
# Errors of connections; `OSError` includes TLS, name service and timeouts.
_BROKEN = (OSError, http.client.HTTPException, ValueError, OverflowError)


class Lost(Exception):
    """A connection that broke off in the middle."""


class OtherPart(Lost):
    """An answer with another part of the file than was requested."""


class Answer:
    """A server's response: its headers, checked, and its bytes.

    Attributes:
        start: position in the file of the first byte sent.
        total: bytes of the whole file; None if the server does not say.
        tag: tag of this version of the file; empty if there is no strong one.
        has_end: whether the server says where the file ends, so that a broken
            connection is not taken for its end.
    """

    def __init__(
        self,
        response: typing.Any,
        guard: "_Guard",
        place: str,
        start: int,
        total: typing.Any,
        tag: str,
    ) -> None:
        self._response, self._guard, self._place = response, guard, place
        self.start, self.total, self.tag = start, total, tag
        self.has_end = total is not None or response.chunked

    def chunks(self) -> Iterator[typing.Any]:
        """Yields bytes as they arrive.

        Raises:
            Lost: the connection was lost.
            WeightsError: the connection is too slow.
        """
        while True:
            try:
                chunk = self._response.read1(CHUNK)
            except _BROKEN as error:
                self._check_speed()
                raise Lost(self._guard.why(error)) from None
            if not chunk:
                self._check_speed()
                return
            self._guard.bytes += len(chunk)
            yield chunk

    def _check_speed(self) -> None:
        """Raises `WeightsError` if the guard ended the connection, which is final."""
        if self._guard.is_over:
            raise WeightsError(
                f"{self._place} was not downloaded: {self._guard.why(None)}"
            )


@contextlib.contextmanager
def ask(url: str, have: typing.Any, tag: str, most: int) -> Iterator[None]:
    """Requests a file, or the rest of it after the bytes already received.

    Args:
        url: http or https.
        have: the number of bytes already received.
        tag: the tag of their version.
        most: the most bytes that the whole file may have.

    Yields:
        An `Answer`; None if nothing follows the received bytes.

    Raises:
        WeightsError: an address or an answer that is refused.
        Lost: no connection, or a broken one, or an answer about another part.
    """
    check_address(url)
    headers = {"User-Agent": "keras_resnets"}
    if have:
        # The server sends the rest if the file is still the same, else all of it.
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with _Guard() as guard:
        try:
            request = urllib.request.Request(url, headers=headers)
            response = _opener(guard).open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            # The error is a response too, whose body may have no end.
            error.close()
            if error.code == 416 and have:
                yield None
                return
            raise WeightsError(
                f"{shown_address(url)} answers {error.code} "
                f"{printable(str(error.reason), 100)}"
            ) from None
        except WeightsError:
            raise
        except _BROKEN as error:
            raise WeightsError(
                f"{shown_address(url)} was not downloaded: {guard.why(error)}"
            ) from None
        with response:
            yield _checked(response, guard, shown_address(url), have, most)


def check_address(url: str, origin: typing.Any = None) -> None:
    """Raises `WeightsError` for an address that is not allowed.

    Args:
        url: the address.
        origin: the address that redirects to it, if any: https may not become http.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        fits = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise WeightsError(
            f"not the address of a file: {printable(url, 100)}"
        ) from None
    scheme = parts.scheme.lower()
    allowed = (
        ("https",)
        if (origin or "").lower().startswith("https:")
        else (
            "https",
            "http",
        )
    )
    if scheme not in allowed or not fits:
        leads = f"{shown_address(origin)} redirects to " if origin else ""
        raise WeightsError(
            f"files are downloaded only from {' and '.join(allowed)} addresses; got {leads}"
            f"{shown_address(url)}"
        )
    if parts.username is not None or parts.password is not None:
        raise WeightsError(
            "addresses with a user name or password are not supported; got "
            f"{shown_address(url)}"
        )


def shown_address(url: str) -> str:
    """Returns an address for messages: printable, without password or signed query."""
    bare = re.sub(r"//[^/?#]*@", "//", url.partition("?")[0].partition("#")[0])
    return printable(bare, 200)


def _checked(
    response: typing.Any,
    guard: "_Guard",
    place: str,
    have: typing.Any,
    most: int,
) -> typing.Any:
    """The `Answer` in a response whose headers make sense."""
    headers = response.headers
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if response.status not in (200, 206) or encoding not in ("identity", ""):
        what = f"status {response.status}"
        if response.status in (200, 206):
            what = f"content encoded as {printable(encoding, 40)}"
        raise WeightsError(f"{place} answers with {what}, which was not requested")
    start = have if response.status == 206 else 0
    if response.status == 206:
        content_range = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if not have or content_range is None or int(content_range.group(1)) != have:
            raise OtherPart("the server sent another part than was requested")
    length = headers.get("Content-Length")
    total = None
    if length is not None:
        if not _LENGTH.fullmatch(length.strip()):
            raise WeightsError(
                f"{place} answers with an invalid length: {printable(length, 40)}"
            )
        total = start + int(length)
        if total > most:
            raise WeightsError(too_large(place, total, most))
    tag = headers.get("ETag") or headers.get("Last-Modified") or ""
    usable = _TAG.fullmatch(tag) and not tag.startswith("W/")
    return Answer(response, guard, place, start, total, tag if usable else "")


def too_large(place: str, size: int | None, most: int) -> str:
    """Says why a file of `size` bytes is refused; None for one without an end."""
    got = "more" if size is None else f"{size:,}"
    return f"{place} was not downloaded: it may have at most {most:,} bytes; got {got}"


def is_tag(text: str) -> bool:
    """Whether a text may be sent as the tag of a version."""
    return bool(_TAG.fullmatch(text))


class _Guard:
    """Ends a connection that delivers fewer than `LEAST` bytes in `TIMEOUT` seconds.

    The socket's own timeout restarts with every byte; the library reads headers,
    redirects and the lengths of chunks, and waits as long as any arrive.

    Attributes:
        bytes: the number received so far; the reader counts them.
        is_over: whether the connection was ended.
    """

    def __init__(self) -> None:
        self.bytes, self.is_over = 0, False
        self._sockets: list[typing.Any] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> typing.Any:
        self._thread.start()
        return self

    def __exit__(self, *error: typing.Any) -> None:
        self._done.set()
        self._thread.join()
        for socket in self._sockets:
            socket.close()

    def note(self, socket: typing.Any) -> None:
        """Registers a connection; its duplicate stays usable when TLS wraps it."""
        self._sockets.append(socket.dup())

    def why(self, error: BaseException | None) -> str:
        """Says why a connection ended."""
        if self.is_over:
            return f"fewer than {LEAST:,} bytes came in {TIMEOUT:g} seconds"
        reason: typing.Any = getattr(error, "reason", error)
        if isinstance(
            error, (TimeoutError, ConnectionError, http.client.IncompleteRead)
        ):
            return f"the connection was lost ({type(error).__name__})"
        return first_line(reason)

    def _watch(self) -> None:
        began, had = time.monotonic(), 0
        while not self._done.wait(min(0.2, TIMEOUT / 4)):
            if self.bytes - had >= LEAST:
                began, had = time.monotonic(), self.bytes
            elif time.monotonic() - began > TIMEOUT:
                self.is_over = True
                for socket in self._sockets:
                    with contextlib.suppress(OSError):
                        socket.shutdown(2)
                return


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, never from https to http; bodies are not read."""

    def http_error_302(
        self,
        request: typing.Any,
        response: typing.Any,
        code: typing.Any,
        message: str,
        headers: typing.Any,
    ) -> typing.Any:
        response.close()
        location = headers.get("Location")
        done = getattr(request, "redirects", 0) + 1
        if location is None or done > REDIRECTS:
            what = "nowhere" if location is None else f"more than {REDIRECTS} times"
            raise WeightsError(f"{shown_address(request.full_url)} redirects {what}")
        quoted = urllib.parse.quote(location, safe=string.punctuation)
        try:
            url = urllib.parse.urljoin(request.full_url, quoted)
        except ValueError:
            url = quoted
        check_address(url, origin=request.full_url)
        following: typing.Any = urllib.request.Request(url, headers=request.headers)
        following.redirects = done
        return self.parent.open(following, timeout=request.timeout)

    http_error_301 = http_error_302  # type: ignore[assignment]
    http_error_303 = http_error_302  # type: ignore[assignment]
    http_error_307 = http_error_302  # type: ignore[assignment]
    http_error_308 = http_error_302  # type: ignore[assignment]


def _opener(guard: "_Guard") -> typing.Any:
    """An opener for http and https only, whose connections the guard watches."""

    class Noted(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            guard.note(self.sock)

    class NotedTls(http.client.HTTPSConnection, Noted):
        """Connects by `Noted`, then wraps."""

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: typing.Any) -> typing.Any:
            return self.do_open(Noted, request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: typing.Any) -> typing.Any:
            return self.do_open(NotedTls, request)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        Http(),
        Https(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
