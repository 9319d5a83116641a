"""Both ends of a unicast session."""
