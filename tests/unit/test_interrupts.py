"""Ctrl-C ends every command, even one started in the background or in the middle of a library's callback."""

import os
import signal
import subprocess
import sys

import pytest
from kiwipiepy import Kiwi

from producers.client.cli.interrupts import interruptible

WAITS = """
import sys, time
import typer
from producers.client.cli import app as module
@module.app.command()
def wait() -> None:
    print("waiting", flush=True)
    time.sleep(60)
sys.argv = ["welip", "wait"]
module.main()
"""


def ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("begin", [None, ignored], ids=["in the foreground", "in a shell's background"])
def test_a_command_ends_with_130(begin) -> None:
    command = [sys.executable, "-c", WAITS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=begin) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"waiting\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130


def test_an_interrupt_that_a_library_made_another_error_of_is_one() -> None:
    kiwi = Kiwi(num_workers=1)

    def interrupted(text: str) -> list[tuple[int, int, str]]:
        os.kill(os.getpid(), signal.SIGINT)
        return []

    with pytest.raises(KeyboardInterrupt), interruptible():
        kiwi.tokenize("한라산은 높다.", pretokenized=interrupted)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ValueError, match="plain"), interruptible():
        raise ValueError("plain")


def test_the_handler_of_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
