"""One text of each method: what it looks like on either client, to a program, to a reader and to a type checker."""

import inspect
import pydoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type, get_type_hints

import anyio
import pytest

from ldiffusion_client import AsyncClient, Client, JobView, SlideInfo
from ldiffusion_client.client import Methods
from ldiffusion_client.methods import Method

METHODS = {
    name: each for kind in reversed(Methods.__mro__) for name, each in vars(kind).items() if isinstance(each, Method)
}

if TYPE_CHECKING:  # not run: mypy reads it, and an ignore that is not needed is an error as well

    async def types(blocking: Client, awaiting: AsyncClient) -> None:
        assert_type(blocking.upload("a.svs", name="b.svs"), SlideInfo)
        assert_type(await awaiting.upload(Path("a.svs"), resume=False), SlideInfo)
        assert_type(blocking.slides(3), list[SlideInfo])
        assert_type(await awaiting.delete_job("1"), JobView | None)
        assert_type(blocking.download("1", "labels.ome.tif", "l.tif", space="qupath"), Path)
        assert_type(await awaiting.features("1", (0, 0, 1, 1)), dict[str, Any])
        assert_type(Client.job(blocking, "1"), JobView)
        blocking.submit("1", seed="no number")  # type: ignore[arg-type]
        await awaiting.submit("1", modle="misspelt")  # type: ignore[call-arg]
        blocking.job(1)  # type: ignore[arg-type]
        blocking.upload(Path("a.svs")).vender  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_on_both_clients_but_for_the_wait(name: str) -> None:
    blocking, awaiting = getattr(Client, name), getattr(AsyncClient, name)
    assert (inspect.iscoroutinefunction(blocking), inspect.iscoroutinefunction(awaiting)) == (False, True)
    assert inspect.signature(blocking) == inspect.signature(awaiting)
    assert get_type_hints(blocking) == get_type_hints(awaiting)
    assert "Steps" not in str(inspect.signature(blocking))
    for kind, prefix in ((Client, ""), (AsyncClient, "async ")):
        told = pydoc.plain(pydoc.render_doc(kind))
        assert f"  {prefix}{name}(self" in told
        assert str(inspect.getdoc(blocking)).partition("\n")[0] in told


def test_the_methods_are_those_that_are_documented() -> None:
    assert {"upload", "wait", "download", "submit_batch"} <= METHODS.keys()
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    assert [name for name in METHODS if f"`{name}(" not in text and f", `{name}(" not in text] == []


def test_a_bound_method_is_a_method_of_its_client() -> None:
    with Client("http://127.0.0.1:1") as client:
        assert client.upload.__self__ is client  # type: ignore[attr-defined]

    async def bound() -> None:
        async with AsyncClient("http://127.0.0.1:1") as awaiting:
            assert awaiting.upload.__self__ is awaiting  # type: ignore[attr-defined]

    anyio.run(bound)
