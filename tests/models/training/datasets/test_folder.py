"""People's own folders: `dataset.toml`, and `data check`, which finds every planted fault."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_dataset import half, write_image, write_pair

from models.training.crops.data import DatasetConfig, load_dataset, load_parts
from models.training.datasets.__main__ import main
from models.training.datasets.folder import index_folder, read_description
from models.training.datasets.inspection import inspect
from models.training.datasets.sample import IGNORE

DESCRIPTION = """
mpp = 0.5
group = '^(p\\d)_'
instances = "objects"
ignore = [7]

[[classes]]
name = "background"
value = 0
color = [255, 255, 255]

[[classes]]
name = "gland"
value = [100, 200]
color = [0, 160, 60]

[splits]
validation = ["p1"]
test = ["p2", "p3"]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Four patients with two images each, one class written with two values, and a `dataset.toml`."""
    for patient in range(4):
        for number, value in enumerate((100, 200)):
            labels = half(0, value)
            labels[0, 0], labels[0, 1] = 7, 255
            write_pair(tmp_path / "mine", f"p{patient}_{number}", labels)
            write_image(tmp_path / "mine" / "objects" / f"p{patient}_{number}.png", half(0, 9).astype(np.uint16))
    (tmp_path / "mine" / "dataset.toml").write_text(DESCRIPTION)
    return tmp_path / "mine"


def test_the_description_says_what_masks_and_names_mean(mine: Path) -> None:
    train, validation = load_parts(DatasetConfig("mine"), mine.parent, 2)
    assert [sample.name for sample in train] == ["p0_0", "p0_1"]
    assert [sample.name for sample in validation] == ["p1_0", "p1_1"]
    expected = half(0, 1)
    expected[0, :2] = IGNORE
    for sample in [*train, *validation]:
        assert np.array_equal(sample.labels, expected)
        assert sample.instances is not None
        assert np.array_equal(sample.instances, half(0, 9))
        assert (sample.group, sample.mpp) == (sample.name[:2], 0.5)
    tests = load_dataset(DatasetConfig("mine", split="test"), mine.parent, 2)
    assert {sample.group for sample in tests} == {"p2", "p3"}
    assert len(load_dataset(DatasetConfig("mine", split="all"), mine.parent, 2)) == 8
    classes = index_folder(mine, DatasetConfig("mine")).classes
    assert [(one.name, one.color) for one in classes] == [("background", (255, 255, 255)), ("gland", (0, 160, 60))]


def test_groups_come_from_a_table_too(mine: Path) -> None:
    (mine / "dataset.toml").write_text('mpp = 1\nbinary = true\ngroups = "groups.csv"\n')
    rows = [f"p{patient}_{number}.png,{'ab'[patient % 2]}" for patient in range(4) for number in range(2)]
    (mine / "groups.csv").write_text("\n".join(["name,group", *rows]))
    samples = load_dataset(DatasetConfig("mine"), mine.parent, 2)
    assert [sample.group for sample in samples] == ["a", "a", "b", "b"] * 2
    (mine / "groups.csv").write_text("\n".join(["name,group", *rows[1:]]))
    with pytest.raises(ValueError, match=r"image p0_0 is not in groups\.csv"):
        load_dataset(DatasetConfig("mine"), mine.parent, 2)
    (mine / "groups.csv").write_text("image,patient\np0_0,a")
    with pytest.raises(ValueError, match="name and group are expected"):
        load_dataset(DatasetConfig("mine"), mine.parent, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mpp = ", "is not TOML"),
        ("speed = 3", ": speed is not known; known: binary, classes, group"),
        ("mpp = 0", ": mpp is 0; accepted: above 0"),
        ("mpp = true", ": mpp is True; accepted: a number"),
        ("masks = 3", ": masks is 3; accepted: text"),
        ('binary = "yes"', ": binary is 'yes'; accepted: true or false"),
        ("group = '('", r": group: '\(' is no regular expression"),
        ("group = 'a'\ngroups = 'b.csv'", "group and groups are both given"),
        ("[[classes]]\ncolour = 'red'", ": classes.0.colour is not known; known: color, name, value"),
        ("[[classes]]\nvalue = 1", ": classes.0.name is missing"),
        ("[[classes]]\nname = 'a'\ncolor = [1, 2]", ": classes.0.color.2 is missing"),
        ("[[classes]]\nname = 'a'\nvalue = 1.5", ": classes.0.value.0 is 1.5; accepted: a whole number"),
        (
            "[[classes]]\nname = 'a'\nvalue = 1\n[[classes]]\nname = 'b'",
            r"classes: pixel values \[1\] mean more than one",
        ),
        ("binary = true\n[[classes]]\nname = 'a'", "classes has 1; accepted: 2, as masks are binary"),
        ("[splits]\ndev = ['a']", ": splits.dev is not known; known: test, train, validation"),
        ("[splits]\ntest = 'a'", ": splits.test is 'a'; accepted: a list"),
        ("classes = 3", ": classes is 3; accepted: a list"),
    ],
)
def test_a_wrong_description_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_description(path)
    assert str(path) in str(caught.value)


def test_splits_must_name_groups_once(mine: Path) -> None:
    (mine / "dataset.toml").write_text(DESCRIPTION.replace('["p1"]', '["p2", "q*"]'))
    with pytest.raises(ValueError, match="pattern 'q\\*' names no group; group p2 is in two splits"):
        load_dataset(DatasetConfig("mine"), mine.parent, 2)


# --- data check -------------------------------------------------------------------------------------------------------


def test_a_good_folder_is_usable(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(mine)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{mine} (adapter folder): 8 images, 4 groups\nsizes: 8 x 8 (8)\nmpp: 0.5\n")
    assert text.endswith("objects: 8\nusable\n")
    assert main(["check", str(mine), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["usable"], report["problems"]) == (True, [])
    assert report["splits"] == {"train": 2, "validation": 2, "test": 4}
    assert [(one["name"], one["pixels"], one["images"]) for one in report["classes"]] == [
        ("background", 30 * 8, 8),
        ("gland", 32 * 8, 8),
    ]
    assert report["classes"][1]["share"] == pytest.approx(32 / 62)
    assert report["annotated_share"] == pytest.approx(62 / 64)


def test_check_finds_every_planted_fault(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine / "dataset.toml").write_text(DESCRIPTION + '[[classes]]\nname = "nerve"\nvalue = 50\n')
    (mine / "masks" / "p0_0.png").unlink()
    write_image(mine / "masks" / "p0_1.png", half(0, 100).reshape(4, 16))
    write_image(mine / "masks" / "p1_0.png", half(0, 33))
    broken = mine / "images" / "p1_1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (mine / "masks" / "p2_0.png").write_bytes(b"not an image")
    write_image(mine / "images" / "p2_1.bmp", np.zeros((8, 8, 3), np.uint8))
    write_image(mine / "masks" / "p9_0.png", half(0, 100))
    assert main(["check", str(mine)]) == 1
    lines = capsys.readouterr().out.splitlines()
    problems = [line.removeprefix("problem: ") for line in lines if line.startswith("problem: ")]
    for planted in (
        f"image p0_0.png has no mask in {mine / 'masks'}",
        "masks/p0_1.png is (4, 16), its image (8, 8): masks are one number a pixel",
        "p1_0.png holds values [33]; known: 0, 7, 50, 100, 200, 255",
        "p1_1.png cannot be read",
        "p2_0.png cannot be read",
        "2 images are called p2_1; a name may occur once",
        "class 2 (nerve) has no pixel",
    ):
        assert sum(planted in problem for problem in problems) == 1, planted
    assert len(problems) == 7
    assert "note: mask p9_0.png belongs to no image" in lines
    assert lines[-1] == f"not usable: {len(problems)} problems"


def test_check_names_labels_out_of_range_and_an_unknown_mpp(tmp_path: Path) -> None:
    write_pair(tmp_path / "bare", "a", half(0, 1))
    write_pair(tmp_path / "bare", "b", half(0, 9))
    report = inspect(tmp_path / "bare", DatasetConfig("bare"), classes=2)
    assert report.problems == (
        "masks/b.png holds labels [9]; the model knows 0..1 and 255 (ignored)",
        "mpp is not known: give --mpp, or mpp in dataset.toml",
    )
    assert report.classes[1].images == 1
    deep = np.full((8, 8), 300, np.uint16)
    write_image(tmp_path / "bare" / "masks" / "b.png", deep)
    report = inspect(tmp_path / "bare", DatasetConfig("bare", mpp=1))
    assert report.problems == ("masks/b.png holds labels [300]; the model knows 0..254 and 255 (ignored)",)


def test_check_explains_masks_of_0_and_255(tmp_path: Path) -> None:
    write_pair(tmp_path / "bare", "a", half(0, 255))
    report = inspect(tmp_path / "bare", DatasetConfig("bare", mpp=1))
    (problem,) = report.problems
    assert problem.startswith("there is only one class: 255 means not annotated here; say value = 255 in dataset.toml")
    assert inspect(tmp_path / "bare", DatasetConfig("bare", mpp=1, binary=True)).problems == ()
    description = 'mpp = 1\n[[classes]]\nname = "ground"\n[[classes]]\nname = "gland"\nvalue = 255\n'
    (tmp_path / "bare" / "dataset.toml").write_text(description)
    report = inspect(tmp_path / "bare", DatasetConfig("bare"))
    assert (report.problems, report.classes[1].share) == ((), 0.5)


def test_check_shows_the_share_of_each_class_in_each_split(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = half(0, 100)
    labels[4, :4] = 0  # one more eighth of the test image is background
    write_pair(mine, "p2_0", labels)
    report = inspect(mine, DatasetConfig("mine"))
    # Of 64 px two are not annotated in the made images, none in this one.
    assert report.classes[1].splits == pytest.approx(
        {"train": 32 / 62, "validation": 32 / 62, "test": (28 + 3 * 32) / (64 + 3 * 62)}
    )
    assert main(["check", str(mine)]) == 0
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines() if "label" in line or "gland" in line]
    assert head[-3:] == ["train", "validation", "test"]
    assert rows[0][-3:] == ["51.61%", "51.61%", "49.60%"]


def test_a_folder_that_cannot_be_opened_is_one_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path), "--adapter", "puma"]) == 1
    assert "problem: 0 folders *_geojson_tissue in" in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--adapter", "glas", "--variant", "grade"]) == 1
    assert "problem: adapter glas has no variant 'grade'; known: binary, 3class" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "none")]) == 1
    assert "there is no such folder" in capsys.readouterr().out


def test_adapters_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["puma", "tissue,", "nuclei,"] for line in lines)


@pytest.mark.parametrize(
    "option", [["--mpp", "0"], ["--mpp", "nan"], ["--classes", "-1"], ["--classes", "0"], ["--adapter", "coco"]]
)
def test_a_wrong_command_line_ends_with_2(
    tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path), *option]) == 2
    assert option[1] in capsys.readouterr().err.splitlines()[-1]
