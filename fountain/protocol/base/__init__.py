"""What every session and every group builds on: blocks, numbers, windows, the handshake."""
