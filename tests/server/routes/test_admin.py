"""What concerns the whole server."""

import httpx

from ldiffusion_client import Client
from workers.core.settings import Settings
from workers.core.store import Store, new_id


def test_the_doctor_tells_of_all_tenants_what_is_wrong(gateway: httpx.Client, gateway_settings: Settings) -> None:
    assert gateway.get("/v1/admin/doctor").json() == {"items": [], "jobs": 0, "next_cursor": None}
    empty = new_id()
    (Store(gateway_settings.data_dir).job_dir(empty)).mkdir()
    answer = gateway.get("/v1/admin/doctor", params={"digests": True}).json()
    assert [(each["kind"], each["id"], answer["jobs"]) for each in answer["items"]] == [
        ("folder_without_request", empty, 1)
    ]
    with Client(str(gateway.base_url)) as client:
        (finding,) = client.doctor(digests=True)
    assert (finding.kind, finding.id) == ("folder_without_request", empty)
    assert Store(gateway_settings.data_dir).list_jobs() == [empty], "it mends nothing"


def test_a_cursor_is_the_id_of_a_job(gateway: httpx.Client) -> None:
    refused = gateway.get("/v1/admin/doctor", params={"cursor": "../.."})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
