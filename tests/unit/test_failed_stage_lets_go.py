"""A stage that failed holds no memory: its frames and its error do not keep each other."""

import gc
import weakref

from consumers.executor import _forget_frames
from schemas.errors import InvalidInput


class Document:
    """Something large."""


def test_what_a_failed_stage_held_is_let_go_without_a_collection() -> None:
    held: list[weakref.ref[Document]] = []

    def reading() -> None:
        document = Document()
        held.append(weakref.ref(document))
        raise ValueError

    def stage() -> None:
        document = Document()
        held.append(weakref.ref(document))
        try:
            reading()
        except ValueError as error:
            refused = InvalidInput("it cannot be read")  # a local name of the error: the circle
            raise refused from error

    gc.collect()
    gc.disable()
    try:
        try:
            stage()
        except InvalidInput as error:
            _forget_frames(error)
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()
