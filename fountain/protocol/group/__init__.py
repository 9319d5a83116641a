"""A stream to many at once: what its server and its receivers do."""
