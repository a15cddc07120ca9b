"""Which numbers a job is computed in: decided once, when it is planned, so that all its regions are alike.

Nothing here needs torch, which planning does without.
"""

from pathlib import Path
from typing import Final

from workers.core.model.schemas import ModelCard, Precision
from workers.core.settings import Device, EngineChoice

# What the kernel calls multiplication of bfloat16 on x86-64 (AVX-512 BF16, AMX) and on ARM64.
_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO: Final = Path("/proc/cpuinfo")
_NVIDIA: Final = Path("/proc/driver/nvidia/version")


def choose_precision(engine: EngineChoice, device: Device, card: ModelCard) -> Precision:
    """Return the precision for a job of this model.

    Args:
        engine: `float32`; `bfloat16` wherever the model can; `auto`: where, besides, this machine is faster with it.
        device: Where the model runs, as configured.
        card: The model.
    """
    if engine == "float32" or not card.half:
        return "float32"
    return "bfloat16" if engine == "bfloat16" or multiplies_bfloat16(device) else "float32"


def multiplies_bfloat16(device: Device, cpuinfo: Path = _CPUINFO, nvidia: Path = _NVIDIA) -> bool:
    """Return whether the device has instructions for bfloat16; not known: no.

    Args:
        device: As configured; a GPU is taken to have them.
        cpuinfo: What the kernel says of the processor.
        nvidia: There where the kernel drives a GPU.
    """
    if device == "cuda" or (device == "auto" and nvidia.exists()):
        return True
    try:
        return not _FLAGS.isdisjoint(cpuinfo.read_text().split())
    except OSError:
        return False
