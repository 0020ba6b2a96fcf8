"""Files: reading untrusted ones, writing whole ones or none, logs that only grow, and the lock of a run."""
