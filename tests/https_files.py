"""A small https server on loopback whose certificate this process trusts: files, and answers that misbehave."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from wanted import program

SECRET = "wJalrXUtnFEMI-example"
CONNECTOR = """[archive]
endpoint = "https://{host}"
region = "eu-central-1"
bucket = "slides"
prefix = "research/"
access_key_id = "AKIDEXAMPLE"
secret_access_key = "{secret}"
private = {private}
tenants = {tenants}
"""


class Files(http.server.BaseHTTPRequestHandler):
    """Answers with `files`, or does what `acts` says; keeps what it is asked."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[tuple[str, dict[str, str]]]
    released: threading.Event

    def do_GET(self) -> None:
        self.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        act = getattr(self, f"act_{self.path.strip('/').partition('.')[0]}", None)
        content = self.files.get(self.path)
        if act is not None:
            act()
        elif content is None:
            self.say(404, 0)
        else:
            self.say(200, len(content))
            self.wfile.write(content)

    def say(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def act_redirect(self) -> None:
        self.say(302, 0, Location="/good.tif")

    def act_endless(self) -> None:
        self.say(200, None, Connection="close")
        self.close_connection = True

    def act_packed(self) -> None:
        self.say(200, 5, Content_Encoding="gzip")

    def act_short(self) -> None:
        self.say(200, 1000)
        self.wfile.write(b"II*\0" + bytes(100))
        self.close_connection = True

    def act_slow(self) -> None:
        self.say(200, 1000)
        self.wfile.write(b"II*\0" + bytes(100))
        self.released.wait(30)
        self.close_connection = True

    def act_silent(self) -> None:
        self.released.wait(30)
        self.close_connection = True

    def act_drip(self) -> None:
        while not self.released.wait(0.05):
            self.wfile.write(b"H")
            self.wfile.flush()
        self.close_connection = True

    def act_wordy(self) -> None:
        self.say(200, 5, **{f"X_Header_{number}": "word" for number in range(200)})
        self.close_connection = True

    def act_huge(self) -> None:
        self.say(200, 2**50)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key and a certificate for a name in `folder`; return both paths."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = f"{program('openssl')} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return key, certificate


@contextmanager
def https_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[http.server.BaseHTTPRequestHandler]
) -> Iterator[int]:
    """Serve on loopback with a certificate for `localhost` that this process trusts; give the port."""
    key, certificate = make_certificate(folder, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # who hangs up is no news
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Files]]]:
    """A server of files: its `host:port`, and what it was asked."""
    kind: type[Files] = type("OneServer", (Files,), {"files": {}, "asked": [], "released": threading.Event()})
    with https_server(tmp_path, monkeypatch, kind) as port:
        yield f"localhost:{port}", kind
        kind.released.set()
