"""The page's two routes, with a build and without one; nothing here needs node."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateway_fixtures import GatewayWith

from server.access.keys import Keys
from server.routes import page
from workers.core.errors.base import LDiffusionError
from workers.core.schemas import JobOptions
from workers.core.settings import Settings

INDEX = '<!doctype html><script type="module" src="/assets/index-0a1b.js"></script>'


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the build writes it, in the place of the real one."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "assets" / "index-0a1b.js").write_text("export {}")
    (folder / "assets" / "index-0a1b.css").write_text("p{}")
    (folder / "assets" / "licenses.md").write_text("Copyright of others")
    (folder / "assets" / "notes.txt").write_text("no part of the page")
    (folder / "secret.js").write_text("not to be had")
    monkeypatch.setattr(page, "STATIC", folder)
    return folder


def test_the_page_is_asked_for_anew_and_its_files_are_kept(built: Path, gateway: httpx.Client) -> None:
    answer = gateway.get("/")
    assert (answer.text, answer.headers["content-type"]) == (INDEX, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"
    script = gateway.get("/assets/index-0a1b.js")
    assert (script.text, script.headers["content-type"]) == ("export {}", "text/javascript; charset=utf-8")
    assert "immutable" in script.headers["cache-control"]
    assert gateway.get("/assets/index-0a1b.css").headers["content-type"] == "text/css; charset=utf-8"


def test_the_licences_of_what_is_in_the_page_are_asked_for_anew(built: Path, gateway: httpx.Client) -> None:
    answer = gateway.get("/assets/licenses.md")
    assert (answer.text, answer.headers["content-type"]) == ("Copyright of others", "text/plain; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"


def test_the_policy_of_the_page_lets_nothing_inline_run(built: Path, gateway: httpx.Client) -> None:
    policy = gateway.get("/").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_what_the_browser_has_already_is_not_sent_again(built: Path, gateway: httpx.Client) -> None:
    for address in ("/", "/assets/index-0a1b.js", "/assets/licenses.md"):
        whole = gateway.get(address)
        kept = gateway.get(address, headers={"if-none-match": whole.headers["etag"]})
        assert (kept.status_code, kept.content, kept.headers["etag"]) == (304, b"", whole.headers["etag"])
        assert kept.headers["cache-control"] == whole.headers["cache-control"]
    (built / "index.html").write_text(f"{INDEX} changed")
    assert gateway.get("/", headers={"if-none-match": whole.headers["etag"]}).status_code == 200


@pytest.mark.parametrize(
    "name", ["absent-0a1b.js", "notes.txt", "..%2Fsecret.js", "%2e%2e/secret.js", ".hidden.js", "a/b.js"]
)
def test_nothing_but_files_of_the_page_is_served(built: Path, gateway: httpx.Client, name: str) -> None:
    answer = gateway.get(f"/assets/{name}")
    assert answer.status_code in (404, 422)
    assert "not to be had" not in answer.text
    assert "no part of the page" not in answer.text


def test_without_a_build_the_page_says_so_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gateway: httpx.Client
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path / "nothing")
    answer = gateway.get("/")
    assert answer.status_code == 200
    assert "make viewer" in answer.text
    assert gateway.get("/v1/slides").status_code == 200
    assert gateway.get("/assets/index.js").status_code == 404


def test_the_page_needs_no_key_and_gives_nothing_away(
    built: Path, gateway_settings: Settings, gateway_with: GatewayWith
) -> None:
    gateway_settings.data_dir.mkdir()
    Keys(gateway_settings.data_dir).create("made", "lab-a", ("read",))
    with gateway_with(gateway_settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/").text == INDEX
        assert client.get("/assets/index-0a1b.js").status_code == 200
        assert client.get("/v1/slides").status_code == 401


def test_the_page_offers_the_model_that_a_job_gets_without_a_name(repo_root: Path) -> None:
    source = (repo_root / "viewer" / "src" / "submit_form.ts").read_text(encoding="utf-8")
    assert f"DEFAULT_MODEL = '{JobOptions.model_fields['model'].default}'" in source


def test_the_words_of_the_page_are_for_codes_that_the_server_has(repo_root: Path) -> None:
    source = (repo_root / "viewer" / "src" / "error_messages.ts").read_text(encoding="utf-8")
    codes = {error.code for error in known_errors(LDiffusionError)}
    assert set(re.findall(r"^  ([a-z_]+): '", source, re.MULTILINE)) <= codes


def known_errors(kind: type[LDiffusionError]) -> Iterator[type[LDiffusionError]]:
    for each in kind.__subclasses__():
        yield each
        yield from known_errors(each)


def test_the_source_of_the_page_names_no_other_server(repo_root: Path) -> None:
    sources = [*(repo_root / "viewer" / "src").iterdir(), repo_root / "viewer" / "index.html"]
    for path in sources:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), path
        assert "innerHTML" not in text, path
