"""A list of hundreds of slides: found, sorted, filtered by how their jobs stand, and several chosen together."""

from pathlib import Path

import pytest
from job_requests import add_slide
from viewer_fixtures import Walker, drawn_slide

from workers.core.settings import Settings
from workers.core.store import Store


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


@pytest.mark.huge
def test_hundreds_of_slides_of_a_server_are_listed_and_one_is_found(
    walker: Walker, slide: Path, gateway_settings: Settings
) -> None:
    store = Store(gateway_settings.data_dir)
    for number in range(300):
        info = store.read_slide(add_slide(store, 0.25))
        named = info.model_copy(update={"filename": f"case {number % 60} block {number}.svs"})
        store.write_json(store.slide_dir(info.id) / "slide.json", named)
    said = walker("hundreds", slide).said
    assert said["one"] == [["case 3 block 123.svs"], "1 of 300 slides"]
    for times in said["times"]:  # not asserted, as it depends on the machine: told by `-s`
        told = "300 slides: {painted} ms to the first paint, {listed} ms to the list, {searched} ms to find one"
        print(told.format(**times))  # noqa: T201
