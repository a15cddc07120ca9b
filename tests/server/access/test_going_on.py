"""A key that may upload and not look goes on with what it uploads, and learns nothing of anything else."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import httpx
import pytest

from server.access.keys import Keys
from workers.core.settings import Settings
from workers.core.store import new_id

GatewayWith = Callable[[Settings], AbstractContextManager[str]]
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream"}
NEW = TUS | {"Upload-Length": "10"}


@pytest.fixture
def clients(gateway_settings: Settings, gateway_with: GatewayWith) -> Iterator[dict[str, httpx.Client]]:
    """Clients with a key each: `own` and `same` submit, `both` also looks, `other` is another tenant's."""
    gateway_settings.data_dir.mkdir()
    keys = Keys(gateway_settings.data_dir)
    tokens = {name: keys.create(name, "lab-a", ("submit",))[1] for name in ("own", "same")}
    tokens |= {"both": keys.create("both", "lab-a", ("read", "submit"))[1]}
    tokens |= {"other": keys.create("other", "lab-b", ("read", "submit"))[1]}
    with gateway_with(gateway_settings) as url, ExitStack() as stack:
        options = {"base_url": url, "trust_env": False, "timeout": 60}
        yield {
            name: stack.enter_context(httpx.Client(headers={"X-API-Key": token}, **options))  # type: ignore[arg-type]
            for name, token in tokens.items()
        }


def made(client: httpx.Client) -> str:
    answer = client.post("/v1/uploads", headers=NEW)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def told(answer: httpx.Response) -> tuple[int, dict[str, str]]:
    changing = ("date", "x-request-id", "ratelimit")
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in changing}


def test_a_key_that_only_submits_goes_on_with_its_own_upload(clients: dict[str, httpx.Client]) -> None:
    own, address = clients["own"], made(clients["own"])
    for offset, piece in ((0, b"abc"), (3, b"d")):
        head = own.head(address, headers=TUS)
        assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (
            200,
            str(offset),
            "10",
        )
        assert own.patch(address, headers=CHUNK | {"Upload-Offset": str(offset)}, content=piece).status_code == 204
    assert own.head(address).status_code == 412
    assert clients["both"].head(address, headers=TUS).headers["upload-offset"] == "4"  # whoever may look
    assert own.delete(address, headers=TUS).status_code == 204
    assert own.head(address, headers=TUS).status_code == 403  # it is not there any more


def test_it_learns_nothing_of_other_uploads_or_of_anything_else(clients: dict[str, httpx.Client]) -> None:
    own, absent = clients["own"], clients["own"].head(f"/v1/uploads/{new_id()}", headers=TUS)
    assert absent.status_code == 403
    for maker in ("same", "both", "other"):
        assert told(own.head(made(clients[maker]), headers=TUS)) == told(absent), maker
    mine = made(own)
    others = [own.get(mine, headers=TUS), own.head("/v1/uploads"), own.head("/v1/slides"), own.get("/v1/uploads")]
    assert [answer.status_code for answer in others] == [403] * 4
    assert clients["other"].head(mine, headers=TUS).status_code == 404
    assert httpx.head(f"{own.base_url}{mine}", headers=TUS, trust_env=False).status_code == 401


def test_a_refusal_is_in_the_audit_log_as_before(clients: dict[str, httpx.Client], gateway_settings: Settings) -> None:
    foreign = made(clients["both"])
    clients["own"].head(foreign, headers=TUS)
    lines = (gateway_settings.data_dir / "audit.jsonl").read_text().splitlines()
    assert any('"scope_missing"' in line and '"HEAD"' in line and foreign in line for line in lines)
