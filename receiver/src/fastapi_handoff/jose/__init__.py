"""One reading of JSON and JWS."""
