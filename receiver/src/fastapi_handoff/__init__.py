"""The FastAPI side of the handoff from a Bitbucket pipeline."""
