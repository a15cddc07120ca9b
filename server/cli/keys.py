"""`ldiffusion keys` and `ldiffusion audit`: who may use a server, and what was done with it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from server.access.audit import AuditLog, Event
from server.access.principals import Scope
from server.cli.extras import need
from workers.core.confinement.private import make_private, stay_private
from workers.core.frozen import LOCAL_TENANT
from workers.core.settings import Settings

if TYPE_CHECKING:
    from server.access.keys import Key, Keys

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of slides, jobs and keys; that of LDIFFUSION_DATA_DIR if not given.",
)


@click.group()
def keys() -> None:
    """Keys that let clients in. A running server sees a change within a second."""
    need("keys", "server")
    stay_private()


@keys.command("create")
@click.argument("name")
@click.option("--tenant", default=LOCAL_TENANT, show_default=True, help="Whose slides and jobs it opens.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(get_args(Scope)),
    multiple=True,
    default=("read", "submit"),
    show_default=True,
    help="What it may do; may be given several times.",
)
@click.option("--expires-days", type=click.FloatRange(min=0, min_open=True), help="Days after which it ends.")
@DATA_DIR
def create_key(
    name: str, tenant: str, scopes: tuple[Scope, ...], expires_days: float | None, data_dir: Path | None
) -> None:
    """Make a key and print it. It is shown this once, and kept nowhere."""
    settings = settings_of(data_dir)
    make_private(settings.data_dir)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    key, token = keys_of(settings).create(name, tenant, scopes, expires_at)
    log_of(settings).record(_event("key_created", key))
    click.echo(
        f"Key {key.id} of tenant {key.tenant}: {', '.join(key.scopes)}. Keep it: it is not shown again.", err=True
    )
    click.echo(token)


@keys.command("list")
@DATA_DIR
def list_keys(data_dir: Path | None) -> None:
    """List all keys, without what opens anything."""
    now = datetime.now(UTC)
    for key in keys_of(settings_of(data_dir)).read().by_id.values():
        scopes, made = ",".join(key.scopes), f"{key.created_at:%Y-%m-%d}"
        click.echo(f"{key.id}  {key.tenant:<12} {scopes:<18} {made}  {_condition(key, now):<20} {key.name}")


@keys.command("revoke")
@click.argument("key_id")
@DATA_DIR
def revoke_key(key_id: str, data_dir: Path | None) -> None:
    """Make a key open nothing any more, for good."""
    settings = settings_of(data_dir)
    key = keys_of(settings).revoke(key_id)
    log_of(settings).record(_event("key_revoked", key))
    click.echo(f"Key {key.id} ({key.name}) opens nothing any more.")


@click.group()
def audit() -> None:
    """The log of who did what."""
    stay_private()


@audit.command("verify")
@click.option("--partial", is_flag=True, help="Old files of the log were taken away on purpose.")
@DATA_DIR
def verify_audit(*, partial: bool, data_dir: Path | None) -> None:
    """Check that no line of the log was altered, removed or added. Compare the head with one you noted before."""
    found = log_of(settings_of(data_dir)).verify(may_begin_later=partial)
    click.echo(f"whole: {found.lines} lines, {found.first} to {found.last}, {found.torn} cut off; head {found.head}")


def settings_of(data_dir: Path | None) -> Settings:
    """Return the settings of the environment, with this data folder if one is given."""
    return Settings() if data_dir is None else Settings(data_dir=data_dir)


def keys_of(settings: Settings) -> "Keys":
    """Return the keys of these settings."""
    from server.access.keys import Keys

    return Keys(settings.data_dir)


def log_of(settings: Settings) -> AuditLog:
    """Return the audit log of these settings."""
    return AuditLog(settings.data_dir, settings.audit_max_bytes)


def _event(action: str, key: "Key") -> Event:
    return Event.model_validate({"action": action, "by": "command", "tenant": key.tenant, "key_id": key.id})


def _condition(key: "Key", now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "usable"
    return f"{'expires' if key.is_usable(now) else 'expired'} {key.expires_at:%Y-%m-%d}"
