"""The app of a replica: its handlers do what the event's `custom.do` says, and leave a line for each run."""

import asyncio
import os
import time
from pathlib import Path

from fastapi import FastAPI

from fastapi_handoff import DeploymentEvent, Handoff, Identity

RUNS = Path(os.environ["RUNS"])
handoff = Handoff(
    policy=os.environ["POLICY"],
    store=os.environ["STORE"],
    url=os.environ["URL"],
    bitbucket_url=os.environ["ISSUER"],
    inline_timeout=float(os.environ.get("INLINE_TIMEOUT", "0.5")),
    lease=float(os.environ.get("LEASE", "1.5")),
    handler_threads=1,
)
app = FastAPI(lifespan=handoff.lifespan)
app.include_router(handoff.router, prefix="/handoff")


def note_run(event_id: str) -> int:
    """Leave a line, and give how many there are of this event."""
    with RUNS.open("a") as runs:
        runs.write(f"{event_id}\n")
    return RUNS.read_text().count(event_id)


async def act(event: DeploymentEvent, identity: Identity) -> dict[str, str]:
    first = note_run(event.id) == 1
    what = event.custom.get("do", "succeed")
    if what == "hang" and first:
        await asyncio.Event().wait()
    if what == "work":
        await asyncio.sleep(0.05)
    return {"service": event.service}


def act_in_a_thread(event: DeploymentEvent, identity: Identity) -> dict[str, str]:
    if note_run(event.id) == 1 and event.custom.get("do") == "hang":
        time.sleep(60)
    return {"service": event.service}


handoff.on("service.published", scope="deployments:write")(act_in_a_thread)
handoff.on("service.deployed", scope="deployments:write")(act)
handoff.on("service.upgraded", scope="deployments:write", idempotent=True)(act)
