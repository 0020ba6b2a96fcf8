"""The figures for Prometheus."""

from charlm.serving.metrics import Metrics


def test_figures_are_written_as_prometheus_reads_them() -> None:
    metrics = Metrics()
    metrics.count_request("/health", 200)
    metrics.count_request("/health", 200)
    metrics.count_characters('a"b', prompt=3, generated=4)
    metrics.count_disconnect()
    lines = metrics.render({"slots": 64}).splitlines()
    assert 'charlm_requests_total{path="/health",status="200"} 2' in lines
    assert r'charlm_characters_total{model="a\"b",kind="generated"} 4' in lines
    assert "charlm_disconnects_total 1" in lines
    assert lines[-2:] == ["# TYPE charlm_slots gauge", "charlm_slots 64"]


def test_waiting_times_are_counted_in_buckets_that_hold_those_below() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.005, 0.3, 99.0):
        metrics.observe_first_report(seconds)
    lines = metrics.render({}).splitlines()
    counts = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("charlm_wait_seconds")}
    assert counts['charlm_wait_seconds_bucket{le="0.005"}'] == 2
    assert counts['charlm_wait_seconds_bucket{le="0.25"}'] == 2
    assert counts['charlm_wait_seconds_bucket{le="0.5"}'] == 3
    assert counts['charlm_wait_seconds_bucket{le="10"}'] == 3
    assert counts['charlm_wait_seconds_bucket{le="+Inf"}'] == counts["charlm_wait_seconds_count"] == 4
