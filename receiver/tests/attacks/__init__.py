"""Hostile requests, a table for each kind: what is forged, and the code that refuses it."""
