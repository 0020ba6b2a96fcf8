"""Files: reading untrusted ones, writing whole ones or none, logs that only grow, locks, and scratch folders."""
