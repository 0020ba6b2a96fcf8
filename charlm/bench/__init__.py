"""`charlm bench`: the cases that are compared, the workloads, and how they are measured."""
