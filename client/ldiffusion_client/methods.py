"""One text of a method for the client that blocks and for the one that awaits: steps, which either's driver does.

See docs/decisions/013-client-one-source.md.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from inspect import signature
from types import MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, get_args, overload

from ldiffusion_client.protocol import Steps

if TYPE_CHECKING:
    from ldiffusion_client.drivers import AsyncDriver, Driver

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """What blocks until a method is done.

    Args:
        driver: Does the steps of methods.
    """

    def __init__(self, driver: "Driver") -> None:
        self.driver = driver

    def close(self) -> None:
        """Let go of the connections."""
        self.driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Awaiting:
    """What is awaited until a method is done.

    Args:
        driver: Does the steps of methods.
    """

    def __init__(self, driver: "AsyncDriver") -> None:
        self.driver = driver

    async def close(self) -> None:
        """Let go of the connections."""
        await self.driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Method(Generic[P, T]):
    """A method of both kinds of client, made of a function that returns its steps.

    Of a `Blocking` client it is a function that returns what the steps come to, of an `Awaiting` one a coroutine
    function; arguments, docstring and errors are the same.
    """

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        @wraps(steps)
        def blocking(client: Blocking, /, *args: P.args, **options: P.kwargs) -> T:
            return client.driver.run(steps(client, *args, **options))

        @wraps(steps)
        async def awaiting(client: Awaiting, /, *args: P.args, **options: P.kwargs) -> T:
            return await client.driver.run(steps(client, *args, **options))

        (*_, result) = get_args(signature(steps).return_annotation)  # of Steps[T]
        for function in (blocking, awaiting):
            function.__annotations__ = {**steps.__annotations__, "return": result}
            vars(function)["__signature__"] = signature(steps).replace(return_annotation=result)
        self._blocking, self._awaiting = blocking, awaiting

    @overload
    def __get__(self, client: None, kind: type[Blocking]) -> Callable[Concatenate[Any, P], T]: ...
    @overload
    def __get__(self, client: None, kind: type[Awaiting]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: Blocking, kind: type[Blocking]) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, kind: type[Awaiting]) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, kind: type) -> Any:
        """Return the function for this kind of client, bound to it if there is one."""
        function = self._awaiting if issubclass(kind, Awaiting) else self._blocking
        return function if client is None else MethodType(function, client)
