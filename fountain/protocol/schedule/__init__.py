"""Which symbols a stream sends next: to one peer, to a group, or one-way."""
