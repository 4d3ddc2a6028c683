"""What one request knows."""
