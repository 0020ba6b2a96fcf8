"""How NumPy multiplies matrices."""

from threadpoolctl import threadpool_info


def blas_threads() -> list[int]:
    """Return the threads of each library that multiplies matrices."""
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
