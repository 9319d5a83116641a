"""The receiving side: trains in, verified files out."""
