"""One typed settings class. Entry points read it once and pass it down; nothing else reads the environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

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
        description="redis://, rediss:// or unix:// address; empty: `ldiffusion serve` starts a private server "
        "on a socket in the data folder.",
    )
    host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    allow_remote: bool = Field(
        default=False, description="Listen to other machines although there is no authentication yet."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port the gateway listens on; 0 picks a free one.")
    workers: int = Field(default=1, ge=0, description="Worker processes that `ldiffusion serve` starts.")

    upload_max_bytes: int = Field(default=8 * 2**30, gt=0, description="Largest upload, in bytes.")
    upload_idle_s: float = Field(
        default=60.0, gt=0, description="Seconds without a byte after which an upload is dropped."
    )
    disk_reserve_bytes: int = Field(default=2**30, ge=0, description="Free bytes an upload must leave on the disk.")

    probe_timeout_s: float = Field(default=60.0, gt=0, description="Wall-clock seconds a slide probe may take.")
    probe_cpu_s: int = Field(default=60, gt=0, description="CPU seconds a slide probe may take.")
    probe_memory_bytes: int = Field(default=4 * 2**30, gt=0, description="Address space of the probe process.")
    slide_max_pixels: int = Field(default=10**11, gt=0, description="Most level-0 pixels of a slide.")

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    torch_threads: int = Field(
        default=0, ge=0, description="CPU threads of one worker; 0: cores shared by the workers."
    )
    job_timeout_s: int = Field(default=3600, gt=0, description="Longest a single queued task may take.")
    task_retries: int = Field(default=3, ge=0, description="Times a failed task is tried again.")
    heartbeat_s: float = Field(default=5.0, gt=0, description="Seconds between two signs of life of a worker.")
    lease_s: float = Field(default=20.0, gt=0, description="Silence after which a worker's task is given to another.")
