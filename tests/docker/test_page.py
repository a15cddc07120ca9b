"""The gateway's image builds the page itself, from the lock file, and holds nothing of node."""

import os
import re
import tomllib

from dockerfiles import ROOT, instructions, stage

SERVER = ROOT / "docker" / "server.Dockerfile"


def test_server_image_builds_the_page_from_its_lock_file_and_installs_it() -> None:
    page, build = stage(SERVER, "page"), stage(SERVER, "build")
    copied = ("COPY", "viewer/package.json viewer/package-lock.json ./")
    installed = next(step for step in page if step[1].startswith("npm ci "))
    assert "--ignore-scripts" in installed[1]
    order = [copied, installed, ("COPY", "viewer ./"), ("RUN", "npm run build")]
    assert [step for step in page if step in order] == order
    (folder,) = (rest for word, rest in page if word == "WORKDIR")
    config = (ROOT / "viewer" / "vite.config.ts").read_text()
    (out,) = re.findall(r"outDir: '(.*?)'", config)
    written = os.path.normpath(f"{folder}/{out}")
    taken = ("COPY", f"--from=page {written} server/static")
    code = ("COPY", "server server")
    final = next(step for step in reversed(build) if "pip install" in step[1])
    assert build.index(code) < build.index(taken) < build.index(final)  # else the code's folder would lie over it
    artifacts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "/server/static/**" in artifacts["artifacts"]


def test_nothing_of_node_reaches_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in (
        "**/node_modules",
        "server/static/assets",
        "server/static/docs.html",
        "server/static/index.html",
    ):  # after what is let in
        assert ignored.index(line) > ignored.index("!server"), line
        assert ignored.index(line) > ignored.index("!viewer"), line
    last = instructions(SERVER)[max(i for i, (word, _) in enumerate(instructions(SERVER)) if word == "FROM") :]
    assert not any("--from=page" in rest for _, rest in last)
