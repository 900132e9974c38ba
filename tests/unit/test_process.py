"""How a process treats its memory."""

import platform
import re
import subprocess
import sys

import pytest

HEAPS = """
import ctypes, sys, threading
from infra.process import limit_arenas
if len(sys.argv) > 1:
    limit_arenas(int(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
together = threading.Barrier(200)
def one():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=one) for _ in range(200)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_as_many_arenas_as_they_are_given() -> None:
    def heaps(*limit: str) -> int:
        ran = subprocess.run(
            [sys.executable, "-c", HEAPS, *limit], capture_output=True, text=True, check=True, timeout=60
        )
        return len(re.findall("<heap nr=", ran.stdout))

    assert heaps() > 2
    assert heaps("2") <= 2
