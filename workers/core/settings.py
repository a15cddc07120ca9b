"""One typed settings class. Entry points read it once and pass it down; nothing else reads the environment."""

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, ByteSize, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Device = Literal["auto", "cpu", "cuda"]
EngineChoice = Literal["auto", "float32", "bfloat16"]
LogFormat = Literal["text", "json"]

ZOO = Path(__file__).resolve().parents[2] / "models" / "zoo"


class Settings(BaseSettings):
    """What an operator can set, each as `LDIFFUSION_<NAME>`. Names carry their unit."""

    model_config = SettingsConfigDict(env_prefix="LDIFFUSION_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("ldiffusion-data"), description="Folder of slides, jobs and the embedded queue."
    )
    models_dir: Path = Field(default=ZOO, description="Folder of model folders.")
    redis_url: str = Field(
        default="",
        description="redis://, rediss:// or unix:// address, or redis+sentinel://host,host/name; empty: "
        "`ldiffusion serve` starts a private server on a socket in the data folder.",
    )
    redis_ca_file: str = Field(
        default="",
        description="File of the certificates (PEM) that a Redis reached by TLS is checked with; empty: the system's.",
    )
    redis_cert_file: str = Field(
        default="", description="File of the certificate (PEM) to show to that Redis; empty: none is shown."
    )
    redis_key_file: str = Field(
        default="", description="File of the key of that certificate (PEM); empty: it is in the same file."
    )
    catalogue_url: str = Field(
        default="",
        description="postgresql:// address of the index of slides and jobs, which gateways that share a storage may "
        "share; empty: a file in the data folder.",
    )
    storage_url: str = Field(
        default="",
        description="s3://bucket/prefix or file:///folder where slides and results of jobs are stored besides; empty: "
        "they lie in the data folder alone.",
    )
    storage_endpoint: str = Field(
        default="", description="https address of the service of that bucket; empty: as AWS's own programs find it."
    )
    storage_region: str = Field(default="", description="Region of that bucket; empty: as AWS's own programs find it.")
    storage_access_key_id: str = Field(
        default="", description="Key for that bucket; empty: as AWS's own programs find it."
    )
    storage_secret_access_key: SecretStr = Field(default=SecretStr(""), description="Its secret.")
    storage_redirect: bool = Field(
        default=False,
        description="Send clients to the bucket, by signed addresses, for results that the data folder has no copy of.",
    )
    slide_cache: ByteSize = Field(
        default=ByteSize(0),
        description="What copies of slides may take on a host whose data folder lacks them, such as `200GiB`; the "
        "longest unused go first. 0: half of the disk.",
    )
    host: str = Field(
        default="127.0.0.1", description="Address the gateway listens on; others than the loopback want a key."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port the gateway listens on; 0 picks a free one.")
    allowed_hosts: str = Field(
        default="",
        description="Names by which clients reach the gateway, with commas between; this machine's own always count; "
        "`*`: any. Others than those want a key.",
    )
    root_path: str = Field(
        default="",
        description="Path below which a proxy shows the gateway, such as `/wsi`; the proxy may take it off or leave it "
        "on; empty: none.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of proxies whose `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` are "
        "believed, with commas between; empty: nobody's. With any, a key is wanted.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins of other sites whose pages may use the gateway, with commas between; empty: none.",
    )
    request_rate_per_s: float = Field(
        default=100.0, gt=0, description="Requests a second that one key, or one address without a key, may make."
    )
    request_burst: int = Field(default=1000, gt=0, description="Requests that may come at once before that rate holds.")
    link_max_s: int = Field(default=3600, gt=0, description="Longest life of a signed link.")
    quota_bytes: int = Field(default=0, ge=0, description="Bytes that one tenant may have stored; 0: no limit.")
    quota_jobs: int = Field(
        default=0, ge=0, description="Jobs of one tenant that may be unfinished at once; 0: no limit."
    )
    regions_per_tenant: int = Field(
        default=0,
        ge=0,
        description="Regions of one tenant that may be queued or computed at once, by all workers; the same for "
        "gateways and workers. 0: no limit.",
    )
    batches_per_tenant: int = Field(default=1000, gt=0, description="Batches of one tenant that may be there at once.")
    audit_max_bytes: int = Field(
        default=64 * 2**20, gt=0, description="Size at which the audit log goes on in a new file."
    )
    retention_days: float = Field(
        default=0.0, ge=0, description="Days after its last use at which a slide or job is deleted; 0: kept for ever."
    )
    rehash_days: float = Field(
        default=30.0,
        ge=0,
        description="Days after which a stored slide is read again and compared with what was stored; 0: never.",
    )
    head_max_bytes: int = Field(
        default=32 * 2**10, ge=2**10, description="Longest head of a request, in bytes; one line may have half of it."
    )
    head_max_lines: int = Field(default=100, ge=10, description="Most header lines of a request.")
    head_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds in which the head of a request has to be whole."
    )
    body_idle_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a byte after which a request whose body is not whole is dropped; for uploads "
        "see `LDIFFUSION_UPLOAD_IDLE_S`.",
    )
    connections_max: int = Field(
        default=512, gt=0, description="Connections at once; above, those that wait for a request make room."
    )
    connections_per_address: int = Field(
        default=64,
        ge=0,
        description="Connections at once of one address (IPv6: of its /64), which a trusted proxy does not count as; "
        "0: no limit.",
    )
    workers: int = Field(default=1, ge=0, description="Worker processes that `ldiffusion serve` starts.")
    log_format: LogFormat = Field(
        default="text",
        description="Lines of the logs: `text`, or `json`, which names no file and no address of others.",
    )

    upload_max_bytes: int = Field(default=8 * 2**30, gt=0, description="Largest upload, in bytes.")
    upload_idle_s: float = Field(
        default=60.0, gt=0, description="Seconds without a byte after which an upload is dropped."
    )
    upload_expires_s: float = Field(
        default=259200.0, gt=0, description="Seconds after its last byte at which a resumable upload is deleted."
    )
    upload_empty_s: float = Field(default=3600.0, gt=0, description="The same of one of which no byte has come.")
    upload_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Part of the disk's room, less what uploads of others have announced, that one tenant may announce "
        "and not have sent yet.",
    )
    uploads_per_tenant: int = Field(
        default=1000, gt=0, description="Resumable uploads of one tenant that may be there at once without a slide."
    )
    upload_lease_s: float = Field(
        default=5.0, gt=0, description="Silence of a request after which another may go on with its upload."
    )
    disk_reserve_bytes: int = Field(default=2**30, ge=0, description="Free bytes an upload must leave on the disk.")

    probe_timeout_s: float = Field(default=60.0, gt=0, description="Wall-clock seconds a slide probe may take.")
    probe_cpu_s: int = Field(default=60, gt=0, description="CPU seconds a slide probe may take.")
    probe_memory_bytes: int = Field(
        default=4 * 2**30,
        gt=0,
        description="Address space of all probes that run at once: each has half of it, and all of it alone, once "
        "more, if that may have been too little.",
    )
    confine_bare_root: bool = Field(
        default=False,
        description="Let children that look at slides run as root where the kernel has no Landlock to keep them from "
        "all files.",
    )
    unpack_timeout_s: float = Field(
        default=900.0, gt=0, description="Seconds, of clock and of CPU, that unpacking or stripping a slide may take."
    )
    deidentify: Literal["keep", "strip"] = Field(
        default="keep",
        description="`strip`: remove label, macro and identifying tags of every slide, or refuse it.",
    )
    slide_max_pixels: int = Field(default=10**11, gt=0, description="Most level-0 pixels of a slide.")

    tile_cache_s: int = Field(
        default=3600,
        ge=0,
        description="Seconds that a browser may keep tiles and thumbnails without asking again; 0: it keeps none.",
    )
    tile_threads: int = Field(
        default=4, gt=0, description="Threads of the gateway that send tiles which need no decoding, and overlays."
    )
    tile_children: int = Field(
        default=4,
        ge=2,
        description="Confined children that decode tiles for viewers at once; no tenant has all of them.",
    )
    slide_handles: int = Field(
        default=8, ge=0, description="Slides that are kept open between two tiles, each by a child of its own."
    )
    tile_memory_bytes: int = Field(
        default=256 * 2**20,
        gt=0,
        description="Address space that a tile child may take beyond that of its start; of a PNG or JPEG, which is "
        "decoded as a whole, 10 bytes for each of its pixels more.",
    )
    tile_cpu_s: int = Field(default=10, gt=0, description="CPU seconds that decoding one tile or thumbnail may take.")
    tile_timeout_s: float = Field(
        default=20.0, gt=0, description="Wall-clock seconds that decoding one tile or thumbnail may take."
    )
    tile_refuse_s: float = Field(
        default=300.0,
        ge=0,
        description="Seconds for which a tile that went wrong, or a slide of which three cost a child, is refused.",
    )

    device: Device = Field(default="auto", description="Where the model runs.")
    engine: EngineChoice = Field(
        default="auto",
        description="What models compute in; `auto`: bfloat16 where model and processor can, else float32.",
    )
    torch_threads: int = Field(
        default=0, ge=0, description="CPU threads of one worker; 0: cores shared by the workers."
    )
    job_timeout_s: int = Field(default=3600, gt=0, description="Longest a single queued task may take.")
    read_timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds, of clock and of CPU, that a single read of a slide may take in a worker; the child that "
        "reads is ended then.",
    )
    reader_memory_bytes: int = Field(
        default=2 * 2**30,
        gt=0,
        description="Address space that a child which reads a slide for a worker may take beyond that of its start.",
    )
    task_retries: int = Field(default=3, ge=0, description="Times a failed task is tried again.")
    worker_memory: ByteSize = Field(
        default=ByteSize(0),
        validation_alias=AliasChoices("worker_memory", "LDIFFUSION_WORKER_MEMORY", "LDIFFUSION_JOB_MEMORY_BYTES"),
        description="Memory of one worker with the children that read for it, such as `2GiB`: the tiles of jobs follow "
        "from it; a job that needs more is refused, or ended. 0: its share of nine tenths of what is there.",
    )
    event_listeners_max: int = Field(default=256, gt=0, description="Clients that may follow jobs by events at once.")
    event_listeners_per_tenant: int = Field(
        default=128, gt=0, description="Of them, those that one tenant may have at once."
    )
    webhook_hosts: str = Field(
        default="", description="Hosts that webhooks may call, with commas between; `*`: any; empty: no webhooks."
    )
    webhook_secrets_dir: Path = Field(
        default=Path("webhook-secrets"),
        description="Folder of the secrets that sign webhooks: a folder for each tenant, a file for each secret.",
    )
    webhook_private: bool = Field(
        default=False, description="Let webhooks call addresses that are not public: loopback, private, link-local."
    )
    import_hosts: str = Field(
        default="", description="Hosts from which slides may be fetched, with commas between; `*`: any; empty: none."
    )
    import_private: bool = Field(
        default=False, description="Let slides be fetched from addresses that are not public, too."
    )
    import_timeout_s: float = Field(default=3600.0, gt=0, description="Seconds that fetching a slide may take.")
    import_connectors: Path = Field(
        default=Path("import-connectors.toml"), description="File of the named buckets to fetch from, if there are any."
    )
    heartbeat_s: float = Field(default=5.0, gt=0, description="Seconds between two signs of life of a worker.")
    lease_s: float = Field(default=20.0, gt=0, description="Silence after which a worker's task is given to another.")


def settings_with(**told: Any) -> Settings:
    """Return the settings, with those that somebody told (not None) before those of the environment."""
    return Settings(**{name: value for name, value in told.items() if value is not None})
