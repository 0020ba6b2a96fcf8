"""Files: read from strangers, written whole or not at all, logs that only grow, and the lock of a folder."""
