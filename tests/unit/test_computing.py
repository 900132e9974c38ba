"""Reports that are computed keep nobody from reading files."""

import asyncio
import threading

from consumers.stages.computing import computed


async def test_figures_of_many_reports_take_no_thread_that_reads_files() -> None:
    let_go = threading.Event()
    reports = [asyncio.create_task(computed(let_go.wait, 120)) for _ in range(100)]
    try:
        async with asyncio.timeout(60):
            assert await asyncio.to_thread(lambda: "read") == "read"
    finally:
        let_go.set()
    assert await asyncio.gather(*reports) == [True] * 100
