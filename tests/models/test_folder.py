"""The schema of a model folder: what a fault says, and what the digest of a model does and does not depend on."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_network import SMALL

from models.config import LDiffusionConfig, NetworkConfig, ObjectConfig, ScheduleConfig, VaeConfig, VectorConfig
from models.folder import ModelClass, ModelConfig, read_config
from models.settings import SettingsError

CONFIG = ModelConfig(
    name="made",
    title="Made",
    mpp=0.5,
    classes=(ModelClass(0, "background", (0, 0, 0)), ModelClass(1, "nucleus", (200, 0, 0))),
    tile_px=512,
    halo_px=64,
    stride_px=16,
    license="none",
    intended_use="tests",
    network=LDiffusionConfig(network=SMALL),
    format=1,
    weights_sha256="a" * 64,
)
ZOO = Path(__file__).parents[2] / "models" / "zoo"
DIGESTS = {
    "glands-paper": "20e8bf54566e58ee922781dd2ff2692166917bff3d6efedbd8a171b6a3a81c76",
    "nuclei-paper": "10c6ba9c1126e45049b741c4af3d8801843609f94e0775223618810c273507fe",
}


@pytest.mark.parametrize("folder", sorted(path for path in ZOO.iterdir() if path.is_dir()), ids=lambda path: path.name)
def test_shipped_models_keep_their_file_and_digest(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    config = read_config(text.encode(), "config.json")
    assert json.loads(config.to_json(config.weights_sha256)) == json.loads(text)
    assert config.digest == DIGESTS.get(config.name, config.digest)  # what others begin from stays what it is


# --- digest -----------------------------------------------------------------------------------------------------------

channel = st.integers(0, 255)


@given(
    colors=st.tuples(*[st.tuples(channel, channel, channel)] * 2),
    words=st.tuples(st.text(), st.text(), st.text()),
    figures=st.dictionaries(st.text(), st.floats(0, 1)),
)
def test_what_is_for_people_leaves_the_digest(
    colors: tuple[tuple[int, int, int], ...], words: tuple[str, str, str], figures: dict[str, float]
) -> None:
    classes = tuple(replace(one, color=color) for one, color in zip(CONFIG.classes, colors, strict=True))
    title, licence, use = words
    changed = replace(CONFIG, classes=classes, title=title, license=licence, intended_use=use, figures=figures)
    assert replace(changed, name="other", training={"seed": 3}).digest == CONFIG.digest
    assert read_config(changed.to_json(CONFIG.weights_sha256).encode(), "").digest == CONFIG.digest


def test_a_concept_is_kept_and_leaves_the_digest() -> None:
    coded = replace(CONFIG, classes=(CONFIG.classes[0], replace(CONFIG.classes[1], snomed=("84640000", "Nucleus"))))
    read = read_config(coded.to_json(CONFIG.weights_sha256).encode(), "")
    assert [one.snomed for one in read.classes] == [None, ("84640000", "Nucleus")]
    assert read.digest == CONFIG.digest
    told = json.loads(coded.to_json(CONFIG.weights_sha256))["classes"]
    assert ["snomed" in one for one in told] == [False, True]


def test_a_cost_is_told_where_there_is_one_and_leaves_the_digest() -> None:
    measured = replace(CONFIG, cpu_s_per_mm2=7.5)
    assert "cpu_s_per_mm2" not in json.loads(CONFIG.to_json(CONFIG.weights_sha256))
    read = read_config(measured.to_json(CONFIG.weights_sha256).encode(), "")
    assert (read.cpu_s_per_mm2, read.digest) == (7.5, CONFIG.digest)


def test_a_temperature_is_told_where_there_is_one() -> None:
    warm = replace(CONFIG, temperature=1.5)
    assert "temperature" not in json.loads(CONFIG.to_json(CONFIG.weights_sha256))
    assert read_config(warm.to_json(CONFIG.weights_sha256).encode(), "").temperature == 1.5
    with pytest.raises(SettingsError, match="temperature is 0"):
        replace(CONFIG, temperature=0.0)


NETWORK: dict[str, Any] = {
    "latent_channels": 4,
    "latent_stride": 8,
    "encoder_width": 16,
    "encoder_depth": 2,
    "unet_widths": (8, 12, 24),
    "unet_depth": 2,
    "dae_width": 16,
    "dae_depth": 2,
    "head_widths": (4, 8, 12, 24),
    "head_depths": (0, 0, 1, 2),
    "backbone": "convnext_tiny",
    "backbone_weights": "timm",
    "backbone_pyramid": 32,
    "trunk_widths": (8, 16, 24, 32, 64),
    "trunk_depth": 1,
    "norm": "batch",
    "vectors": VectorConfig(),
}
SCHEDULE: dict[str, Any] = {
    "law": "gaussian",
    "num_train_timesteps": 500,
    "beta_schedule": "cosine",
    "beta_start": 2e-4,
    "beta_end": 0.03,
    "timesteps": (10, 70),
    "component_gammas": (1.0, 0.5),
    "component_scales": (1.0, 2.0),
}
WHOLE: dict[str, Any] = {
    "interior_um": 2.5,
    "input": "sequence+rgb",
    "sequence": "chain",
    "chain_mode": "ddim",
    "predict_scale": True,
    "vector_statistics": "running",
    "vae": "diffusers:there",
    "vae_config": VaeConfig(block_out_channels=(8, 16, 16), latent_channels=3),
    "colour": True,
    "scale_maps": True,
}
# What one of these cannot be without.
NEEDS: dict[str, dict[str, Any]] = {"scale_maps": {"predict_scale": True}}
DECIDING: list[dict[str, Any]] = [
    *({"network": replace(CONFIG.network, network=replace(SMALL, **{key: value}))} for key, value in NETWORK.items()),
    *(
        {"network": replace(CONFIG.network, schedule=replace(CONFIG.network.schedule, **{key: value}))}
        for key, value in SCHEDULE.items()
    ),
    *({"network": replace(CONFIG.network, **{key: value}, **NEEDS.get(key, {}))} for key, value in WHOLE.items()),
    {"weights_sha256": "b" * 64},
    {"mpp": 0.25},
    {"tile_px": 1024},
    {"halo_px": 80},
    {"stride_px": 32},
    {"objects": ObjectConfig(smallest_um2=8)},
    {"temperature": 1.5},
    {"classes": (CONFIG.classes[0], replace(CONFIG.classes[1], name="cell"))},
    {"classes": (ModelClass(0, "nucleus", (200, 0, 0)), ModelClass(1, "background", (0, 0, 0)))},
]


def test_whatever_decides_labels_changes_the_digest() -> None:
    assert set(NETWORK) == {each.name for each in fields(NetworkConfig)}
    assert set(SCHEDULE) == {each.name for each in fields(ScheduleConfig)}
    assert {*WHOLE, "num_classes", "schedule", "network"} == {each.name for each in fields(LDiffusionConfig)}
    digests = {replace(CONFIG, **changes).digest for changes in DECIDING}
    assert len({*digests, CONFIG.digest}) == len(DECIDING) + 1


def test_another_number_of_classes_changes_the_digest() -> None:
    classes = (*CONFIG.classes, ModelClass(2, "stroma", (0, 0, 9)))
    assert replace(CONFIG, classes=classes, network=replace(CONFIG.network, num_classes=3)).digest != CONFIG.digest


def test_a_setting_at_its_default_need_not_be_written() -> None:
    """A later version has more settings; folders of now then do not name them."""
    body = json.loads(CONFIG.to_json(CONFIG.weights_sha256))
    assert body["network"].pop("vector_statistics") == "batch"
    assert body["network"]["schedule"].pop("law") == "laplace"
    assert read_config(json.dumps(body).encode(), "config.json").digest == CONFIG.digest


# --- faults -----------------------------------------------------------------------------------------------------------


def with_change(**changes: Any) -> bytes:
    return json.dumps(json.loads(CONFIG.to_json(CONFIG.weights_sha256)) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mpp": "half"}, "made/config.json: mpp is 'half'; accepted: a number"),
        ({"mpp": 0}, "made/config.json: mpp is 0; accepted: above 0"),
        ({"mpp": float("nan")}, "made/config.json: mpp is nan; accepted: a finite number"),
        ({"tile_px": 16.5}, "made/config.json: tile_px is 16.5; accepted: a whole number"),
        ({"tile_px": True}, "made/config.json: tile_px is True; accepted: a whole number"),
        ({"tile_px": 520}, "made/config.json: tile_px is 520; accepted: a multiple of stride_px = 16"),
        ({"halo_px": -1}, "made/config.json: halo_px is -1; accepted: at least 0"),
        ({"title": 3}, "made/config.json: title is 3; accepted: text"),
        ({"name": "../up"}, "made/config.json: name is '../up'; accepted: what matches ^[a-z0-9][a-z0-9_-]{0,63}$"),
        ({"format": 2}, "made/config.json: format is 2; accepted: 1"),
        ({"classes": []}, "made/config.json: classes: numbered []; accepted: 0, 1, 2, … in order, a background and"),
        ({"classes": 3}, "made/config.json: classes is 3; accepted: a list"),
        ({"network": 3}, "made/config.json: network is 3; accepted: a table"),
        (
            {"network": {"law": 1}},
            "made/config.json: network.law is not known; known: chain_mode, colour, input, interior_um, network, ",
        ),
        (
            {"network": {"schedule": {"law": "levy"}}},
            "made/config.json: network.schedule.law is 'levy'; accepted: 'laplace', ",
        ),
        (
            {"network": {"schedule": {"timesteps": [3, 2]}}},
            "made/config.json: network: timesteps must be distinct and ascending, got (3, 2)",
        ),
        (
            {"network": {"num_classes": 3}},
            "made/config.json: network.num_classes is 3; accepted: 2, as many as ",
        ),
        ({"exact_tiling": False}, "made/config.json: exact_tiling is False; accepted: True"),
        ({"speed": 9}, "made/config.json: speed is not known; known: classes, cpu_s_per_mm2, exact_tiling, "),
    ],
)
def test_a_fault_says_file_key_value_and_what_is_accepted(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_config(with_change(**changes), "made/config.json")
    (line,) = str(refused.value).splitlines()
    assert line.startswith(sentence)


def test_every_fault_has_a_line() -> None:
    color = asdict(CONFIG.classes[1]) | {"color": [1, 2, 256]}
    with pytest.raises(SettingsError) as refused:
        read_config(with_change(mpp=-1, classes=[asdict(CONFIG.classes[0]), color], more=1), "config.json")
    mpp, channel_, more = str(refused.value).splitlines()
    assert mpp == "config.json: mpp is -1; accepted: above 0"
    assert channel_ == "config.json: classes.1.color.2 is 256; accepted: at most 255"
    assert more.startswith("config.json: more is not known; known: ")


@pytest.mark.parametrize(
    ("snomed", "sentence"),
    [
        (["nucleus", "Nucleus"], "classes.1.snomed.0 is 'nucleus'; accepted: what matches ^[0-9]{6,18}$"),
        (["84640000", ""], "classes.1.snomed.1 is ''; accepted: what matches "),
        (["84640000", "a\\b"], "classes.1.snomed.1 is 'a\\\\b'; accepted: what matches "),
        (["84640000"], "classes.1.snomed.1 is missing"),
        ("84640000", "classes.1.snomed is '84640000'; accepted: a list"),
    ],
)
def test_a_concept_that_is_none_is_a_fault(snomed: object, sentence: str) -> None:
    coded = asdict(CONFIG.classes[1]) | {"snomed": snomed}
    with pytest.raises(SettingsError) as refused:
        read_config(with_change(classes=[asdict(CONFIG.classes[0]), coded]), "config.json")
    assert str(refused.value).startswith(f"config.json: {sentence}")


def test_a_long_value_is_cut_and_broken_json_is_named() -> None:
    with pytest.raises(SettingsError, match=r"title is \['xxxx") as refused:
        read_config(with_change(title=["x" * 10_000]), "config.json")
    assert len(str(refused.value)) < 200
    with pytest.raises(SettingsError, match=r"^config\.json is not JSON: "):
        read_config(b"{", "config.json")
    with pytest.raises(SettingsError, match=r"^config\.json is \[\]; accepted: a table$"):
        read_config(b"[]", "config.json")
