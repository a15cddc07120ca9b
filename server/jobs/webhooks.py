"""Calls to an address that a client names: only where the operator allows, by `server.web.egress`, and signed."""

import hashlib
import hmac
from contextlib import closing
from pathlib import Path

from server.web.egress import Egress, request_target
from workers.core.errors.jobs import WebhookRefused
from workers.core.schemas import Webhook
from workers.core.settings import Settings

TIMEOUT_S = 10.0
"""Longest wait for one answer of the network."""

TOTAL_S = 20.0
"""Longest time of one call, however slowly the other side drips."""

SIGNATURE = "LDiffusion-Signature"


def calls(settings: Settings) -> Egress:
    """Return what webhooks may reach."""
    return Egress(
        field="webhook.url",
        hosts=settings.webhook_hosts,
        private=settings.webhook_private,
        refusal=WebhookRefused,
        off="This server calls no webhooks.",
        instead="a request without webhook",
    )


def check_webhook(webhook: Webhook, tenant: str, settings: Settings) -> None:
    """Say at once what can be known of a tenant's webhook without asking the network.

    Raises:
        WebhookRefused: Webhooks are off, or the address or the secret is not one that the operator allows.
    """
    egress = calls(settings)
    egress.check_literal(egress.parse_url(webhook.url))
    read_secret(webhook.secret, tenant, settings)


def read_secret(name: str, tenant: str, settings: Settings) -> bytes:
    """Return the secret of this name that belongs to a tenant: names of others are not there.

    Raises:
        WebhookRefused: The operator has put down none.
    """
    path: Path = settings.webhook_secrets_dir / tenant / name
    secret = path.read_bytes().strip() if path.is_file() else b""
    if not secret:
        raise WebhookRefused(
            "webhook.secret: there is none of this name.", value=name, accepted="one the operator made for you"
        )
    return secret


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """Return the header that proves body and time: `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>">`."""
    return f"t={moment},v1={hmac.new(secret, f'{moment}.'.encode() + body, hashlib.sha256).hexdigest()}"


def post(url: str, body: bytes, headers: dict[str, str], settings: Settings) -> int:
    """Send a body and return the status of the answer, of which nothing else is read.

    Raises:
        WebhookRefused: The address is not allowed.
        OSError, http.client.HTTPException: Nobody answers, not in time, or not in HTTP.
    """
    egress = calls(settings)
    target = egress.parse_url(url)
    with egress.call(target, TIMEOUT_S, TOTAL_S) as connection, closing(connection):
        connection.request("POST", request_target(target), body, headers)
        return connection.getresponse().status
