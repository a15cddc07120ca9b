"""What a hostile file could make a child do; run by `server.intake.sandbox`."""

import os
import socket
import sys
import time
from pathlib import Path

from server.intake.sandbox import serve_confined
from workers.core.errors.base import LDiffusionError
from workers.core.schemas import Frozen


class Order(Frozen):
    act: str


class Report(Frozen):
    found: str


def work(order: Order) -> Report:
    return Report(found=str(ACTS[order.act]()))


def spin() -> str:
    while True:
        pass


def hoard() -> str:
    return str(len(bytearray(2**34)))


def write() -> str:
    return str(Path("large").write_bytes(bytes(2**21)))


def call_out() -> str:
    tried = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        try:
            socket.socket(family).close()
            tried.append("made")
        except OSError as error:
            tried.append(type(error).__name__)
    one, other = socket.socketpair()
    with one, other:
        one.send(b"x")
        tried.append(other.recv(1).decode())
    return " ".join(tried)


def look_around() -> str:
    return " ".join(sorted(os.environ))


def open_many() -> str:
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1000)]
    return str(len(held))


def linger() -> str:
    with Path("alive").open("wb"):
        time.sleep(600)
    return ""


def touch() -> str:
    Path("touched").touch()
    return ""


def fail() -> str:
    raise LDiffusionError("internal detail of ours")


ACTS = {act.__name__: act for act in (spin, hoard, write, call_out, look_around, open_many, linger, touch, fail)}

if __name__ == "__main__":
    sys.exit(serve_confined(sys.argv[1:], Order, work))
