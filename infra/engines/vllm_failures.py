"""What vLLM raises for a request, as errors of ours."""

import contextlib
from collections.abc import Iterator

from infra.engines.memory import out_of_memory
from schemas.errors import EngineDied, EngineFailed, EngineRefused


@contextlib.contextmanager
def failures(name: str) -> Iterator[None]:
    """Around what is asked of the engine of the model `name`."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        yield
    except EngineDeadError as error:
        raise EngineDied(f"the engine of {name} died while it wrote") from error
    except EngineGenerateError as error:
        failed = EngineFailed(f"the engine of {name} failed on the request: {error.__cause__ or error}")
        raise (out_of_memory(name, error) or failed) from error
    except (VLLMClientError, ValueError) as error:
        raise EngineRefused(f"vLLM refuses the request: {error}") from error
