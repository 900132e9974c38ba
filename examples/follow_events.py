"""Follow several jobs at once with asyncio: each event as it happens. A broken stream resumes where it broke."""

import asyncio

from welip import AsyncClient, ProgressEvent, StateEvent


async def follow(client: AsyncClient, name: str) -> None:
    """Submit a job that does nothing, slowly, and tell what happens to it."""
    job = await client.submit("noop", {"sleep_s": 1, "steps": 3})
    async for event in client.events(job.id):
        match event:
            case StateEvent():
                print(f"{name}: {event.state}")
            case ProgressEvent():
                print(f"{name}: {event.progress.done} of {event.progress.total}")


async def main() -> None:
    """Three jobs, side by side."""
    async with AsyncClient() as client:
        await asyncio.gather(*(follow(client, name) for name in ("first", "second", "third")))


if __name__ == "__main__":
    asyncio.run(main())
