"""An app as you would write it: it rolls a version out when a pipeline hands a deployment over, and syncs its configuration."""

import os
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Security
from fastapi_handoff import AuditMiddleware, DeploymentEvent, Handoff, Identity, Rejected

handoff = Handoff(
    policy=Path(__file__).with_name("handoff.toml"),
    store=os.environ.get("HANDOFF_STORE", "sqlite:///handoff.db"),
    url=os.environ["RECEIVER_URL"],
    # Only here, where a stand-in plays Bitbucket: your app leaves it out.
    bitbucket_url=os.environ["BITBUCKET_URL"],
)
app = FastAPI(title="Acme API", lifespan=handoff.lifespan)
app.include_router(handoff.router, prefix="/handoff")
app.add_middleware(AuditMiddleware, handoff=handoff)


@handoff.on("service.deployed", scope="deployments:write")
def roll_out(event: DeploymentEvent, identity: Identity) -> dict[str, str]:
    """Runs once for each deployment, and only for pipelines that the policy lets in."""
    if event.commit is None:
        raise Rejected("a roll-out needs the commit that was deployed")
    with Path("deployments.log").open("a") as log:
        log.write(f"{event.environment}: {event.service} at {event.commit[:7]} from {identity.bitbucket.branch}\n")
    return {"live": event.commit[:7]}


@app.post("/config/sync")
async def sync(identity: Annotated[Identity, Security(handoff.identity, scopes=["config:sync"])]) -> dict[str, str]:
    """A route of the app's own behind the same identity."""
    return {"synced_for": identity.bitbucket.repository_uuid}
