"""Which numbers a job is computed in: what is configured, what the model can and what the processor can."""

from pathlib import Path

import pytest

from workers.core.model import precision as module
from workers.core.model.catalogue import find_model
from workers.core.model.precision import choose_precision, multiplies_bfloat16
from workers.core.model.schemas import ModelCard
from workers.core.settings import EngineChoice


@pytest.fixture
def card(model_folder: Path) -> ModelCard:
    return find_model(model_folder.parent, model_folder.name)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("able", [False, True])
@pytest.mark.parametrize("engine", ["auto", "float32", "bfloat16"])
def test_bfloat16_is_for_models_that_can_on_processors_that_can_or_if_told(
    card: ModelCard, engine: EngineChoice, able: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "multiplies_bfloat16", lambda _: fast)
    chosen = choose_precision(engine, "cpu", card.model_copy(update={"half": able}))
    expected = able and (engine == "bfloat16" or (engine == "auto" and fast))
    assert chosen == ("bfloat16" if expected else "float32")


def test_the_processor_is_asked_by_the_names_of_its_instructions(tmp_path: Path) -> None:
    cpuinfo, nvidia = tmp_path / "cpuinfo", tmp_path / "nvidia"
    assert not multiplies_bfloat16("cpu", cpuinfo, nvidia)  # not known
    cpuinfo.write_text("flags\t\t: fpu avx2 avx512f avx512_vnni\n")
    assert not multiplies_bfloat16("auto", cpuinfo, nvidia)
    assert multiplies_bfloat16("cuda", cpuinfo, nvidia)
    for flag in ("avx512_bf16", "amx_bf16"):
        cpuinfo.write_text(f"flags\t\t: fpu avx512f {flag} md_clear\n")
        assert multiplies_bfloat16("cpu", cpuinfo, nvidia)
    cpuinfo.write_text("flags\t\t: fpu\n")
    nvidia.touch()
    assert multiplies_bfloat16("auto", cpuinfo, nvidia)
    assert not multiplies_bfloat16("cpu", cpuinfo, nvidia)
