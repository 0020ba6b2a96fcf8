"""Run folders: their files, their metrics, how a run begins, and how runs compare."""
