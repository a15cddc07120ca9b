"""Calls to addresses that clients name: to the address that was checked, and with one deadline up to the answer."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from https_files import Files

from server.jobs import webhooks
from server.uploads import fetch as fetching
from server.uploads.fetch import Source, fetch
from server.web import egress
from server.web.egress import Address, Egress
from workers.core.errors.intake import ImportRefused
from workers.core.settings import Settings

Elsewhere = tuple[str, type[Files]]
NEVER_S = 600.0
"""Longer than a test may take: what ends before is ended by something else."""


def outward_to(host: str, *, private: bool = True) -> Egress:
    return Egress("url", host, private, ImportRefused, "off", "an upload")


def source_at(url: str, host: str, *, private: bool = True) -> Source:
    return Source(url=url, egress=outward_to(host, private=private), label=url)


@pytest.fixture
def answers_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the name `localhost` mean this machine the first time, and no machine ever after; the list of look-ups."""
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host: str, port: int, *rest: Any, **options: Any) -> Any:
        if host != "localhost":
            return real(host, port, *rest, **options)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "192.0.2.1", port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take every address for a public one; the list of those that were checked."""
    seen: list[str] = []

    def is_public(address: Address) -> bool:
        seen.append(str(address))
        return True

    monkeypatch.setattr(egress, "is_public", is_public)
    return seen


def test_an_import_goes_to_the_address_that_was_checked(
    elsewhere: Elsewhere, answers_once: list[str], checked: list[str]
) -> None:
    host, server = elsewhere
    server.files["/a.tif"] = b"content"
    fetched = fetch(source_at(f"https://{host}/a.tif", host, private=False), NEVER_S)
    fetched.close()
    assert fetched.length == 7
    assert [path for path, _ in server.asked] == ["/a.tif"]
    assert checked == ["127.0.0.1"]
    assert answers_once == ["localhost"]


def test_a_webhook_goes_to_the_address_that_was_checked(
    elsewhere: Elsewhere, answers_once: list[str], checked: list[str]
) -> None:
    status = webhooks.post(f"https://{elsewhere[0]}/", b"{}", {}, Settings(webhook_hosts=elsewhere[0]))
    assert status == 501  # this server knows no POST; it was asked
    assert checked == ["127.0.0.1"]
    assert answers_once == ["localhost"]


@pytest.fixture
def mute() -> Iterator[str]:
    """`host:port` of a server that takes connections and never says a word, nor speaks TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_speaks_tls_is_given_up_in_time(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ANSWER_S", 0.3)
    with pytest.raises(ImportRefused, match="does not answer"):
        fetch(source_at(f"https://{mute}/a.tif", mute), NEVER_S)


def test_a_name_that_is_never_found_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ANSWER_S", 0.3)
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(NEVER_S) and [])
    with pytest.raises(ImportRefused, match="does not answer"):
        fetch(source_at("https://slides.example/a.tif", "slides.example"), NEVER_S)
    ended.set()


@pytest.mark.parametrize("path", ["silent", "drip"])
def test_the_head_of_an_answer_has_its_time(elsewhere: Elsewhere, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ANSWER_S", 0.5)
    with pytest.raises(ImportRefused, match="does not answer"):
        fetch(source_at(f"https://{elsewhere[0]}/{path}", elsewhere[0]), NEVER_S)


def test_a_webhook_has_its_time(mute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", NEVER_S)
    monkeypatch.setattr(webhooks, "TOTAL_S", 0.3)
    with pytest.raises(OSError, match=r"timed out|closed|reset|EOF|^$"):
        webhooks.post(f"https://{mute}/", b"{}", {}, Settings(webhook_hosts=mute, webhook_private=True))


def test_a_head_without_end_is_refused(elsewhere: Elsewhere) -> None:
    with pytest.raises(ImportRefused, match="does not answer"):
        fetch(source_at(f"https://{elsewhere[0]}/wordy", elsewhere[0]), NEVER_S)


def test_the_next_address_is_tried(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, checked: list[str]) -> None:
    host, server = elsewhere
    server.files["/a.tif"] = b"content"
    real: Callable[..., Any] = socket.create_connection
    tried: list[str] = []

    def create_connection(address: tuple[str, int], timeout_s: float) -> socket.socket:
        tried.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError
        made: socket.socket = real(address, timeout_s)
        return made

    monkeypatch.setattr(egress, "_look_up", lambda *_: ["192.0.2.1", "127.0.0.1"])
    monkeypatch.setattr(socket, "create_connection", create_connection)
    fetch(source_at(f"https://{host}/a.tif", host, private=False), NEVER_S).close()
    assert tried == checked == ["192.0.2.1", "127.0.0.1"]
