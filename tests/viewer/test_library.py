"""A list of hundreds of slides: found, sorted, filtered by how their jobs stand, and several chosen together."""

from pathlib import Path

from viewer_fixtures import Walker, drawn_slide


def test_hundreds_of_slides_are_found_sorted_and_chosen_together(walker: Walker, tmp_path: Path) -> None:
    drawn_slide(tmp_path / "b 9.tif", 0.25)
    said = walker("library", drawn_slide(tmp_path / "b 10.tif", 0.25)).said
    assert said["byName"] == ["b 9.tif", "b 10.tif"]  # numbers by their value
    assert said["found"] == [["b 9.tif"], "1 of 2 slides"]
    assert said["without"] == [[], "No slide fits."]
    assert said["left"] == [["b 10.tif"], False]
    assert said["one"] == [["case 3 block 123.svs"], "1 of 301 slides"]
    assert said["badges"] == {
        "running": ["case 3 block 3.svs"],
        "done": ["case 4 block 4.svs", "case 5 block 5.svs"],
        "warning": ["case 5 block 5.svs"],
        "failed": ["case 6 block 6.svs"],
    }
    assert said["first"] == "case 59 block 299.svs"
    [thumbnails] = [int(line.split()[1]) for line in said["requests"] if line.startswith("thumbnails ")]
    assert thumbnails < 60  # of those that were in sight
    # Not asserted, as it depends on the machine: told by `-s`.
    print(f"301 slides: painted {said['painted']} ms, listed {said['listed']} ms, searched {said['search']} ms")  # noqa: T201
