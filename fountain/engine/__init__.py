"""The loops: where codes and protocol, network and storage, time and threads meet."""
