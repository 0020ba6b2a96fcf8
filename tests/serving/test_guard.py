"""Host, Origin and the key: requests that the pages of other sites cause are not answered."""

import pytest

pytest.importorskip("starlette", reason="missing: starlette")

from charlm.serving.guard import check_head
from charlm.serving.requests import RequestError


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "10.1.2.3", "texts.example.org.", "localhost."],
)
def test_addresses_localhost_and_the_name_of_the_server_are_answered(host: str) -> None:
    check_head({"host": host}, host="Texts.example.org", key=None)
    check_head({"host": host, "origin": f"http://{host}"}, host="texts.example.org", key=None)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "texts.example.org", "127.0.0.1.nip.io", "", ":80", "[::1", "[]"]
)
def test_other_names_may_have_been_rebound_and_need_the_key(host: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_head({"host": host}, host="other.example.org", key=None)
    assert caught.value.status == 403
    check_head({"host": host, "authorization": "bearer secret"}, host="other.example.org", key="secret")


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost", "http://["])
def test_requests_of_pages_of_other_sites_are_refused(origin: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_head({"host": "localhost:8000", "origin": origin}, host="localhost", key=None)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "secret", "Bearer secret2", "Bearer s\xe9cret", "Basic secret"]
)
def test_a_request_without_the_key_is_refused_and_the_key_is_not_told(header: str | None) -> None:
    headers = {"host": "localhost"} | ({} if header is None else {"authorization": header})
    with pytest.raises(RequestError) as caught:
        check_head(headers, host="localhost", key="secret")
    assert caught.value.status == 401
    assert "secret" not in caught.value.message
