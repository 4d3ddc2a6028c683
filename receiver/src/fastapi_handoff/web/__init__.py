"""What FastAPI sees."""
