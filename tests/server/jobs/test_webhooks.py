"""What a webhook may call, and what it may not."""

import hashlib
import hmac
import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from server.jobs.webhooks import calls, check_webhook, signature
from server.web.egress import is_public
from workers.core.errors.jobs import WebhookRefused
from workers.core.schemas import Webhook
from workers.core.settings import Settings


def allowing(tmp_path: Path, hosts: str = "hooks.example", **more: Any) -> Settings:
    (tmp_path / "lab-a").mkdir(exist_ok=True)
    (tmp_path / "lab-a" / "lab").write_text("s3cret\n")
    (tmp_path / "lab-a" / "empty").write_text("\n")
    return Settings(webhook_hosts=hosts, webhook_secrets_dir=tmp_path, **more)


def hook(url: str = "https://hooks.example/a?b=c", secret: str = "lab") -> Webhook:
    return Webhook(url=url, secret=secret)


def test_they_are_off_until_a_host_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(WebhookRefused, match="calls no webhooks"):
        check_webhook(hook(), "lab-a", allowing(tmp_path, ""))
    for hosts in ("hooks.example", "other, HOOKS.example ", "*"):
        check_webhook(hook(), "lab-a", allowing(tmp_path, hosts))


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://elsewhere.example/",
        "https://hooks.example.evil.example/",
        "https://hooks.example:8443/",
        "https://user:word@hooks.example/",
        "https://hooks.example@evil.example/",
        "https://hooks.example:port/",
        "https:///path",
        "hooks.example",
        "https://hooks.example/\r\nX: y",
    ],
)
def test_other_addresses_are_refused_at_once(tmp_path: Path, url: str) -> None:
    with pytest.raises(WebhookRefused):
        check_webhook(hook(url), "lab-a", allowing(tmp_path))


@pytest.mark.parametrize("host", ["x..y", ".example", f"{'a' * 64}.example", "x" * 300])
def test_a_name_that_no_resolver_can_be_asked_for_is_refused_at_once(tmp_path: Path, host: str) -> None:
    with pytest.raises(WebhookRefused, match="no address"):
        check_webhook(hook(f"https://{host}/"), "lab-a", allowing(tmp_path, "*"))


def test_another_port_has_to_be_allowed_by_name(tmp_path: Path) -> None:
    for hosts in ("*", "hooks.example"):
        with pytest.raises(WebhookRefused):
            calls(allowing(tmp_path, hosts)).parse_url("https://hooks.example:8443/")
    assert calls(allowing(tmp_path, "hooks.example:8443")).parse_url("https://hooks.example:8443/").port == 8443


def test_a_secret_is_a_name_of_one_that_is_there(tmp_path: Path) -> None:
    for secret in ("absent", "empty"):
        with pytest.raises(WebhookRefused, match="secret"):
            check_webhook(hook(secret=secret), "lab-a", allowing(tmp_path))
    with pytest.raises(WebhookRefused, match="secret"):  # another tenant's is not there
        check_webhook(hook(), "lab-b", allowing(tmp_path))
    for secret in ("../lab", "", "/etc/passwd", "LAB"):
        with pytest.raises(ValidationError):
            hook(secret=secret)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "100.64.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1"),
        *("ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:808:808::"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2001:0:1::1", "::127.0.0.1", "2001:db8::1"),
        *("192.0.2.7", "fec0::1"),
    ],
)  # fmt: skip
def test_an_address_inside_or_one_that_wraps_another_is_not_public(tmp_path: Path, address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookRefused, match="not public"):
        check_webhook(hook(f"https://{host}/"), "lab-a", allowing(tmp_path, "*"))
    check_webhook(hook(f"https://{host}/"), "lab-a", allowing(tmp_path, "*", webhook_private=True))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_one_bad_address_of_a_name_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(*addresses: str) -> None:
        entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)

    known("8.8.8.8", "1.1.1.1", "8.8.8.8")
    assert calls(allowing(tmp_path)).resolve("hooks.example", 443, 5) == ["8.8.8.8", "1.1.1.1"]
    known("8.8.8.8", "10.0.0.7")
    with pytest.raises(WebhookRefused) as refusal:
        calls(allowing(tmp_path)).resolve("hooks.example", 443, 5)
    assert str(refusal.value.value) == "10.0.0.7"


def test_the_signature_is_one_that_anybody_can_check() -> None:
    found = dict(part.split("=") for part in signature(b"s3cret", 1700, b"{}").split(","))
    assert found == {"t": "1700", "v1": hmac.new(b"s3cret", b"1700.{}", hashlib.sha256).hexdigest()}
