"""Loading a model: what can go wrong, in our words."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import DependencyMissing, DependencyUnavailable, JobError


@contextmanager
def loaded(model: str) -> Iterator[None]:
    """Raises `DependencyMissing` without the gpu group, `DependencyUnavailable` when the model cannot be loaded."""
    try:
        from transformers.utils import logging

        logging.disable_progress_bar()  # progress bars between log lines help nobody
        yield
    except ImportError as error:
        raise DependencyMissing(f"models need the gpu group: pip install 'welip[gpu]' ({error})") from error
    except JobError:
        raise
    except Exception as error:  # libraries and weights of others raise anything
        raise DependencyUnavailable(f"the model {model!r} could not be loaded: {error}") from error
