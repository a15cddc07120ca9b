"""Models are known by their config.json alone; a broken one is named when asked for and left out of the list."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from workers.core.errors.base import ModelInvalid, ModelNotFound
from workers.core.model.catalogue import find_model, list_models, model_dir
from workers.core.model.schemas import ObjectRules
from workers.core.settings import ZOO

CONFIG: dict[str, Any] = {
    "format": 1,
    "name": "nuclei-paper",
    "title": "Nuclei",
    "mpp": 0.5,
    "classes": [
        {"index": 0, "name": "background", "color": [0, 0, 0]},
        {"index": 1, "name": "nucleus", "color": [200, 0, 0]},
    ],
    "tile_px": 1024,
    "halo_px": 64,
    "stride_px": 16,
    "license": "Apache-2.0",
    "intended_use": "research use only",
    "figures": {"dice": 0.8},
    "weights_sha256": "a" * 64,
    "network": {"num_classes": 2},
    "training": {"seed": 0},
}
CELL = CONFIG["classes"][1]


def install(models: Path, folder_name: str = "nuclei-paper", **changes: Any) -> Path:
    """Write a model folder; a change to None leaves the field out."""
    config = {key: value for key, value in (CONFIG | {"name": folder_name} | changes).items() if value is not None}
    folder = models / folder_name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_card_holds_what_a_client_may_know(tmp_path: Path) -> None:
    folder = install(tmp_path)
    card = find_model(tmp_path, "nuclei-paper")
    assert (card.name, card.mpp, card.tile_px, card.halo_px, card.stride_px) == ("nuclei-paper", 0.5, 1024, 64, 16)
    assert [item.name for item in card.classes] == ["background", "nucleus"]
    assert card.classes[1].color == (200, 0, 0)
    assert card.figures == {"dice": 0.8}
    assert model_dir(tmp_path, "nuclei-paper") == folder


def test_a_card_says_what_one_object_is_and_whether_there_is_an_interior_map(tmp_path: Path) -> None:
    install(tmp_path, "plain")
    rules = {"smallest_um2": 12.5, "prominence": 0.3, "smooth_um": 0.5}
    install(tmp_path, "split", objects=rules, network={"num_classes": 2, "interior_um": 2.0})
    assert find_model(tmp_path, "plain").objects == ObjectRules()
    assert find_model(tmp_path, "split").objects == ObjectRules(**rules, interior=True)


@pytest.mark.parametrize(
    ("cost", "weights_mib", "heavy"),
    [(9.9, 100, False), (10.0, 1, True), (None, 8, True), (None, 7.9, False), (None, 0, False)],
)
def test_a_model_is_heavy_by_its_cost_or_else_by_its_weights(
    tmp_path: Path, cost: float | None, weights_mib: float, heavy: bool
) -> None:
    folder = install(tmp_path, cpu_s_per_mm2=cost)
    if weights_mib:
        with (folder / "model.safetensors").open("wb") as weights:
            weights.truncate(round(weights_mib * 2**20))
    assert find_model(tmp_path, "nuclei-paper").heavy == heavy


def test_of_the_shipped_models_two_are_heavy() -> None:
    assert {card.name for card in list_models(ZOO) if card.heavy} == {"nuclei-paper", "glands-paper"}


def test_the_digest_is_that_of_what_decides_labels(tmp_path: Path) -> None:
    first = install(tmp_path / "a", weights_sha256="a" * 64)
    second = install(tmp_path / "b", weights_sha256="b" * 64)
    third = install(tmp_path / "c", title="Cells", classes=[CONFIG["classes"][0], {**CELL, "color": [1, 2, 3]}])
    digests = [find_model(folder.parent, folder.name).digest for folder in (first, second, third)]
    assert (digests[0] == digests[1], digests[0] == digests[2]) == (False, True)


@pytest.mark.parametrize(
    "name", ["", "..", ".", "../models", "a/b", "UPPER", "nuclei tiny", "a" * 65, "-a", "nuclei\n", "é"]
)
def test_what_is_no_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    install(tmp_path / "models")
    with pytest.raises(ModelNotFound):
        find_model(tmp_path / "models", name)


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("b-model", "a-model"):
        install(tmp_path, name)
    with pytest.raises(ModelNotFound) as refused:
        find_model(tmp_path, "absent")
    assert refused.value.accepted == "a-model, b-model"
    with pytest.raises(ModelNotFound) as none:
        find_model(tmp_path / "absent", "a-model")
    assert none.value.accepted == "none is installed"


BROKEN: list[dict[str, Any]] = [
    {"format": 2},
    {"format": None},
    {"name": "another"},
    {"mpp": 0},
    {"mpp": float("inf")},
    {"mpp": None},
    {"classes": CONFIG["classes"][:1]},
    {"classes": CONFIG["classes"][::-1]},
    {"classes": [CONFIG["classes"][0], CONFIG["classes"][1] | {"color": [0, 0, 256]}]},
    {"classes": [CONFIG["classes"][0], CONFIG["classes"][1] | {"color": [0, 0]}]},
    {"tile_px": 1000},
    {"stride_px": 0},
    {"halo_px": -1},
    {"weights_sha256": "abc"},
    {"weights_sha256": None},
    {"network": None},
    {"network": {"width": 32}},
    {"network": {"num_classes": 3}},
    {"exact_tiling": False},
    {"license": None},
]


@pytest.mark.parametrize("changes", BROKEN, ids=str)
def test_a_broken_model_is_named_and_left_out(
    tmp_path: Path, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "good")
    install(tmp_path, "broken", **changes)
    with pytest.raises(ModelInvalid) as refused:
        find_model(tmp_path, "broken")
    assert str(tmp_path) not in str(refused.value.as_dict())
    with caplog.at_level(logging.WARNING):
        assert [card.name for card in list_models(tmp_path)] == ["good"]
    assert "broken" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_config_that_is_no_json_object_is_invalid(tmp_path: Path, content: bytes) -> None:
    (install(tmp_path) / "config.json").write_bytes(content)
    with pytest.raises(ModelInvalid):
        find_model(tmp_path, "nuclei-paper")


def test_a_folder_without_a_config_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelInvalid, match=r"no config\.json"):
        find_model(tmp_path, "empty")


def test_only_model_folders_are_listed(tmp_path: Path) -> None:
    install(tmp_path, "model")
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".cache").mkdir()
    assert [card.name for card in list_models(tmp_path)] == ["model"]
    assert list_models(tmp_path / "absent") == []
