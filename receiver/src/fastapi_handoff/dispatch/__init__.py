"""Who runs a handler."""
