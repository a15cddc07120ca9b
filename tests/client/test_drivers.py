"""What a driver does besides the steps: in which thread it tells of progress, and whose certificates it trusts."""

import os
import threading
from pathlib import Path

import anyio
import httpx
import pytest
from both_clients import KINDS, client_of
from https_files import Files

from ldiffusion_client import AsyncClient
from ldiffusion_client.errors import NeverReached, Refused


def test_progress_is_told_in_the_event_loop(gateway: httpx.Client, tmp_path: Path) -> None:
    told: dict[str, set[int]] = {}
    path = tmp_path / "a.svs"
    path.write_bytes(bytes(3_000_000))

    async def send() -> int:
        async with AsyncClient(str(gateway.base_url)) as client:
            with pytest.raises(Refused):  # it is no slide
                await client.upload(
                    path, progress=lambda what, *_: told.setdefault(what, set()).add(threading.get_ident())
                )
        return threading.get_ident()

    loop = anyio.run(send)
    assert told == {what: {loop} for what in ("reading", "sending", "checking")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_with_a_certificate_of_ones_own_is_reached_with_it(
    elsewhere: tuple[str, type[Files]], kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, files = elsewhere
    files.files["/v1/models"] = b'{"items": []}'
    ca_file = os.environ["SSL_CERT_FILE"]
    with client_of(kind, f"https://{host}") as client, pytest.raises(NeverReached, match="certificate"):
        client.models()
    with client_of(kind, f"https://{host}", ca_file=ca_file) as client:
        assert client.models() == []
    monkeypatch.setenv("LDIFFUSION_CA_FILE", ca_file)
    with client_of(kind, f"https://{host}") as client:
        assert client.models() == []
    (tmp_path / "none.pem").write_text("none")
    for none in ("none.pem", "absent.pem"):
        with pytest.raises(Refused) as caught, client_of(kind, f"https://{host}", ca_file=tmp_path / none):
            pass
        assert caught.value.code == "invalid_ca_file"
