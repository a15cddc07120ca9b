"""Who renames, lists and removes files, beside the one place that should: a list that only gets shorter.

Where bytes may lie in a bucket, nobody else can rename, look around or remove. Modules on the list do it with files of
the data folder, or of a host; a new one goes through `workers.core.storage`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STORAGE = "workers/core/storage/"
METHODS = {"rename", "unlink", "rmdir", "glob", "rglob", "iterdir", "rmtree", "hardlink_to"}
OF_OS = {"remove", "removedirs", "renames", "replace", "link", "walk", "scandir", "listdir"}
OF_SHUTIL = {"move", "copytree"}
NO_FILES = {
    "workers/core/queue/ends.py": "unlink of Redis",
}

STILL_DO = {
    # the data folder, until its slides and jobs lie in a storage
    "workers/core/store.py",
    "workers/core/job_files.py",
    "workers/core/products.py",
    "workers/core/label_layout.py",
    "server/catalogue/mirror.py",
    "server/jobs/batch_records.py",
    "server/jobs/doctor.py",
    # unfinished uploads, and what becomes of them before they are slides: scratch of the gateway that has them
    "server/uploads/store.py",
    "server/intake/admission.py",
    "server/intake/deidentify.py",
    "server/intake/dicom_strip.py",
    "server/intake/dicom_structure.py",
    "server/intake/slide_sets.py",
    "server/intake/unpack.py",
    # a job's folder while it is made: scratch of its worker
    "workers/masks.py",
    "workers/outputs/landed.py",
    "workers/outputs/vector/features.py",
    "workers/pipeline/bad_tiles.py",
    "workers/pipeline/objects.py",
    "workers/pipeline/stitch.py",
    "workers/product_tasks.py",
    "workers/stages.py",
    # commands on folders that people name, and files of this host
    "server/access/audit.py",
    "server/catalogue/database.py",
    "server/cli/demo.py",
    "server/process/damaged_queue.py",
    "server/process/embedded_redis.py",
    "server/process/gpus.py",
    "server/process/serve.py",
    "workers/core/children/readers.py",
    "workers/core/cohort/slides_in.py",
    "workers/core/model/catalogue.py",
    "workers/core/slides/readers/zarr/entries.py",
    "workers/segment.py",
}


def handled(tree: ast.AST) -> Iterator[str]:
    """Yield the name of each call that renames, lists or removes files, as far as its name says so."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, node.func.value
        of = owner.id if isinstance(owner, ast.Name) else ""
        is_path_replace = name == "replace" and len(node.args) == 1 and not node.keywords  # of a text it has two
        of_module = {"os": OF_OS, "shutil": OF_SHUTIL}.get(of, set())
        if name in METHODS or name in of_module or is_path_replace:
            yield name


def test_nobody_else_renames_lists_or_removes_files() -> None:
    found = set()
    for package in ("server", "workers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = path.relative_to(ROOT).as_posix()
            if not module.startswith(STORAGE) and module not in NO_FILES and any(handled(ast.parse(path.read_text()))):
                found.add(module)
    assert found - STILL_DO == set(), "these go through workers.core.storage, or the list says why not"
    assert STILL_DO - found == set(), "these do not any more: take them off the list"


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("path.rename(other)", True),
        ("(a / 'b').replace(other)", True),
        ("os.replace(a, b)", True),
        ("os.walk(a)", True),
        ("shutil.rmtree(a)", True),
        ("a.unlink(missing_ok=True)", True),
        ("[*a.glob('*')]", True),
        ("text.replace('a', 'b')", False),
        ("day.replace(hour=1)", False),
        ("ast.walk(tree)", False),
        ("shutil.disk_usage(a)", False),
    ],
)
def test_what_counts_as_that(line: str, is_found: bool) -> None:
    assert any(handled(ast.parse(line))) is is_found
