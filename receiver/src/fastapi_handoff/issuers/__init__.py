"""What an identity provider attests."""
