"""What the tests share: a pipe of their own, an identity provider, receivers, replicas, databases and chains."""
