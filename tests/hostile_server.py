"""What a server can answer to a download that no honest one does."""

import random
import time

ENDLESS = 1 << 40
BODY = b"x" * 1000


def reply(*headers, status="200 OK", body=BODY, length=True):
    """A function that sends these lines and then the body."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if length and not any(line.lower().startswith("content-length") for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def send(handler):
        handler.wfile.write(head + body)

    return send


def _endless(head, piece, pause=0.0):
    """Sends a beginning and then the same for ever; stops when nobody listens."""

    def send(handler):
        handler.wfile.write(head)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause)

    return send


def _redirect(location, status="302 Found"):
    return reply(f"Location: {location}", status=status, body=b"", length=True)


OK = b"HTTP/1.1 200 OK\r\n"
# Name -> what the server does.
ANSWERS = {
    "endless body": _endless(OK + b"\r\n", b"x" * 65_536),
    "endless body of a length": _endless(
        OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65_536
    ),
    "endless chunks": _endless(
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + b"x" * 65_536 + b"\r\n",
    ),
    "a byte now and then": _endless(OK + b"Content-Length: 900\r\n\r\n", b"x", 0.1),
    "a byte of a header now and then": _endless(OK, b"x", 0.1),
    "a header now and then": _endless(OK, b"a: b\r\n", 0.1),
    "a byte of a chunk's length now and then": _endless(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0", 0.1
    ),
    "an endless header": _endless(OK + b"a: ", b"x" * 65_536),
    "endless headers": _endless(OK, b"a: b\r\n" * 1000),
    "an endless status": _endless(b"HTTP/1.1 200 ", b"x" * 65_536),
    "continue without end": _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "nothing": lambda handler: None,
    "silence": lambda handler: time.sleep(4),
    "no http": lambda handler: handler.wfile.write(b"\x1b[2Jhello\n" * 5),
    "binary": lambda handler: handler.wfile.write(random.Random(0).randbytes(5000)),
    "no status": reply(status="", length=False),
    "status of words": reply(status="OK 200"),
    "status of five digits": reply(status="20000 OK"),
    "status below all": reply(status="-1 OK"),
    "status 204": reply(status="204 No Content", body=b""),
    "status 203": reply(status="203 Other"),
    "status 304": reply(status="304 Not Modified", body=b""),
    "status 101": reply(status="101 Switching", body=b""),
    "416 for all": reply(status="416 Range"),
    "206 that nobody asked for": reply(
        "Content-Range: bytes 0-999/1000", status="206 Partial"
    ),
    "a reason that clears the screen": reply(status="404 \x1b[2J\x1b]0;x\x07 gone"),
    "a reason without end": reply(status="503 " + "x" * 60_000),
    "an error with an endless body": _endless(
        b"HTTP/1.1 500 no\r\n\r\n", b"x" * 65_536
    ),
    "length of 6,000 digits": reply("Content-Length: " + "9" * 6000),
    "negative length": reply("Content-Length: -5"),
    "length of words": reply("Content-Length: many\x1b[2J"),
    "length of a float": reply("Content-Length: 1e3"),
    "two lengths": reply("Content-Length: 5", "Content-Length: 999999999999"),
    "length too long": reply("Content-Length: 5000"),
    "terabytes": reply("Content-Length: 4000000000000"),
    "gzip": reply("Content-Encoding: gzip"),
    "an encoding that there is not": reply("Content-Encoding: \x1b[2J"),
    "chunks that are none": reply(
        "Transfer-Encoding: chunked", body=b"zz\r\nhello\r\n", length=False
    ),
    "a chunk of negative length": reply(
        "Transfer-Encoding: chunked", body=b"-5\r\nhello\r\n", length=False
    ),
    "a chunk cut off": reply(
        "Transfer-Encoding: chunked", body=b"ff\r\nhello\r\n", length=False
    ),
    "redirect nowhere": reply(status="302 Found"),
    "redirect to itself": _redirect("/a.pth"),
    "redirect in a circle": _redirect("/b.pth"),
    "redirect to a file": _redirect("file:///etc/passwd"),
    "redirect to ftp": _redirect("ftp://127.0.0.1/a"),
    "redirect to data": _redirect("data:text/plain,hello"),
    "redirect to javascript": _redirect("javascript:1"),
    "redirect to no host": _redirect("http://"),
    "redirect to half an address": _redirect("http://[::1"),
    "redirect to port of words": _redirect("http://127.0.0.1:port/"),
    "redirect to port too high": _redirect("http://127.0.0.1:99999/"),
    "redirect to port zero": _redirect("http://127.0.0.1:0/"),
    "redirect with a password": _redirect("http://me:secret@127.0.0.1/a"),
    "redirect with spaces": _redirect("http://127.0.0.1:9/a b\tc\x1b[2J"),
    "redirect to a long name": _redirect("http://" + "a" * 300 + ".example/"),
    "redirect to dots": _redirect("http://..../"),
    "redirect to letters of no alphabet": _redirect("http://\xff\xfe.example/"),
    "redirect with an endless body": _endless(
        b"HTTP/1.1 302 Found\r\nLocation: /a.pth\r\n\r\n", b"x" * 65_536
    ),
    "redirect of 300": _redirect("/c.pth", "300 Many"),
    "redirect of 308 to a file": _redirect("file:///etc/passwd", "308 Permanent"),
    "a page instead": reply("Content-Type: text/html", body=b"<html>log in</html>"),
}


def fuzzed(count, seed=0):
    """(name, bytes) of answers in which bits, lines or lengths are wrong."""
    rng = random.Random(seed)
    honest = OK + b'ETag: "a"\r\nContent-Length: 1000\r\n\r\n' + BODY
    for number in range(count):
        data = bytearray(honest)
        kind = rng.choice(("bits", "cut", "line", "noise", "number"))
        if kind == "bits":
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(60)] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[rng.randrange(len(data)) :]
        elif kind == "line":
            names = (b"Content-Length", b"Transfer-Encoding", b"Content-Range", b"ETag")
            names += (b"Content-Encoding", b"Location", b"Connection", b"Set-Cookie")
            line = rng.choice(names) + b": " + rng.randbytes(rng.randrange(40))
            data[len(OK) : len(OK)] = line + b"\r\n"
        elif kind == "noise":
            start = rng.randrange(60)
            data[start : start + rng.randrange(20)] = rng.randbytes(rng.randrange(20))
        else:
            told = rng.choice((b"-1", b"0", b"1e9", b"", b"9" * rng.randrange(1, 9000)))
            data = bytearray(honest.replace(b"1000\r", told + b"\r", 1))
        yield f"{kind} {number}", bytes(data)
