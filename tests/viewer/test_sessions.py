"""The page over a longer time: slides and jobs that change, uploads that stop, keys that are revoked."""

import re
from pathlib import Path

import numpy as np
import pytest
from made_slides import write_slide
from viewer_fixtures import BLUE, RED, RED_INK, SHOWN, Walker, assert_lies_at, drawn_slide, is_like

from server.access.keys import Keys
from workers.core.settings import Settings

CHUNK_BYTES = 32 * 2**20
"""What the page sends at once."""


def test_of_two_slides_each_shows_its_own_jobs_and_what_is_missing_is_told(
    walker: Walker, slide: Path, tmp_path: Path
) -> None:
    drawn_slide(tmp_path / "other.tif", 0.25)
    walk = walker("switching", slide)
    said = walk.said
    assert sorted(said["slides"]) == ["marked slide.tif", "other.tif"]  # each once
    assert said["opened"] == 1
    assert said["strangers"] == [0, False]  # the job of one slide, begun before the other was opened
    assert "job=" not in said["link"]
    assert said["ownLink"] is True
    assert said["unopened"] == [0, False]  # nothing of the slide before stays where one cannot be opened
    assert said["gone"] == [False, False]
    assert_lies_at(walk, "again", RED, SHOWN["red"])  # tiles that were lost are asked for again
    assert_lies_at(walk, "again", BLUE, SHOWN["blue"])
    assert said["reached"] == []
    assert said["afterEscape"] == ["", "copy-link"]
    assert said["jobs"] == 1
    assert said["after"] == [1, False, ""]
    assert "DELETE" in {line.split()[0] for line in said["requests"]}


def test_a_job_that_is_begun_before_the_list_of_jobs_comes_is_looked_at(walker: Walker, slide: Path) -> None:
    said = walker("early", slide).said
    assert said["rows"] == [1, 2]
    assert said["chosen"] == ["true", "false"]


@pytest.mark.huge
def test_many_unfinished_jobs_leave_the_page_alive(walker: Walker, slide: Path) -> None:
    said = walker("queued", slide, is_held=True).said
    assert said["answered"] == 200
    assert said["streams"] == 2  # of the jobs that were chosen; a browser has six connections
    assert said["canceled"] == 1
    assert said["focused"] is True
    last, first = said["rows"]
    assert "Queued · next in line · starts in about 12 s · then takes up to 5 min" in first
    assert "Queued · place 2 in line · then takes up to 5 min" in last
    assert said["start"] is True  # Start is seen without scrolling
    for line in ("µm per pixel\n0.5; slides of up to 1", "Classes\nred, blue", "Limits\n"):
        assert line in said["card"]
    assert said["unsuited"][0] is True
    assert said["unsuited"][1].endswith("(does not suit this slide)")
    assert said["unsuited"][2] == "The slide has 1.5 µm per pixel, the model takes at most 1."
    assert said["unsuited"][3] == "mpp_out_of_range"  # the server says the same
    assert said["suited"] is False


def test_an_upload_is_halted_and_goes_on_after_a_reload_where_it_was(walker: Walker, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "large.tif", np.full((3400, 3600, 3), 200, np.uint8), mpp=0.25)
    said = walker("resume", path).said
    assert said["paused"] == 1
    assert said["goneOn"].startswith("large.tif")
    assert CHUNK_BYTES <= said["offset"] < said["size"]
    told = int(re.match(r"Not complete: (\d+) MB of ", said["incomplete"])[1])  # type: ignore[index]
    assert CHUNK_BYTES / 1e6 - 1 < told < said["offset"] / 1e6 + 1  # what was on its way may have landed since
    assert [line for line in said["requests"] if line.startswith("POST /v1/uploads ")] == ["POST /v1/uploads 201"]
    assert any(line.startswith("HEAD /v1/uploads/") for line in said["requests"])
    assert said["left"] == 0


@pytest.mark.huge
def test_uploads_of_others_and_lost_ones_are_told_and_a_folder_is_no_file(walker: Walker, slide: Path) -> None:
    said = walker("gone", slide).said
    assert said["areFolded"] is True
    assert "Not complete: 0 B of 1.0 MB" in said["others"]
    assert "Discard" in said["others"]
    assert "Discard" not in said["fetched"]
    assert said["lost"].endswith("Dismiss")
    assert "Not taken as a slide" in said["dropped"]
    assert "original" not in said["dropped"]
    assert "dropped.svs" in said["dropped"].partition("What the server says")[2]
    assert said["canceled"] == 0


def test_a_key_that_is_revoked_is_asked_for_once_and_a_new_one_goes_on(
    walker: Walker, slide: Path, gateway_settings: Settings
) -> None:
    gateway_settings.data_dir.mkdir()
    both = [Keys(gateway_settings.data_dir).create(name, "lab-a", ("read", "submit"))[1] for name in ("one", "two")]
    walk = walker("revoked", slide, " ".join(both), is_held=True)
    assert walk.said["links"] == ["Interface", "Licences", "Forget key"]
    assert walk.said["dialogs"] == 1
    assert is_like(walk.at("new-key", 600, 500), RED_INK)
    posts = [line for line in walk.said["requests"] if line.startswith("POST /v1/uploads ")]
    assert posts == ["POST /v1/uploads 201", "POST /v1/uploads 401", "POST /v1/uploads 201"]
