"""The page of the interface in a real browser that reaches nothing but its server: all operations are there."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from gateway_fixtures import running_gateway
from viewer_fixtures import TOOLS
from wanted import program

from server.access.keys import Keys
from server.app import create_app
from server.routes.page import STATIC
from workers.core.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.process]


@pytest.mark.parametrize("below", [pytest.param("", marks=pytest.mark.huge), "/wsi"])
def test_every_operation_is_shown_without_a_key_and_without_the_network(
    gateway_settings: Settings, tmp_path: Path, below: str
) -> None:
    node, browser = program("node"), program("chromium")
    if not (TOOLS / "node_modules" / "playwright-core").is_dir() or not (STATIC / "docs.html").is_file():
        pytest.skip("the page was not built: `make viewer` does it")
    gateway_settings.data_dir.mkdir()
    _, key = Keys(gateway_settings.data_dir).create("made", "lab-a", ("read",))
    with running_gateway(gateway_settings.model_copy(update={"root_path": below})) as url:
        command = [node, str(TOOLS / "interface.mjs"), f"{url}{below}/docs", str(tmp_path), key]
        environment = os.environ | {"CHROMIUM": browser}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    paths = create_app(gateway_settings).openapi()["paths"]
    expected = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert len(expected) > 40
    assert set(said["operations"]) == expected
    assert said["unrendered"] == 0
    assert said["elsewhere"] == []
    assert said["complaints"] == []  # of the page's policy too
    assert [status.split()[0] for status in said["tried"]] == ["200", "200"]
    assert "Copyright" in said["within"]
