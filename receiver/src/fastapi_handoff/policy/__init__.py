"""From attested claims to scopes."""
