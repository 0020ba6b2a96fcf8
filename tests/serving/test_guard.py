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


OTHERS = ("evil.example", "localhost.evil.example", "texts.example.org", "127.0.0.1.nip.io", "", ":80", "[::1", "[]")
WRONG = ("", "Bearer", "Bearer wrong", "secret", "Bearer secret2", "Bearer s\xe9cret", "Basic secret")


@pytest.mark.parametrize(
    ("headers", "key", "status"),
    [
        *(({"host": host}, None, 403) for host in OTHERS),  # another site may have this name, and rebind it
        *(({"host": host, "authorization": "bearer secret"}, "secret", 200) for host in OTHERS),
        *(
            ({"host": "localhost:8000", "origin": origin}, None, 403)
            for origin in ("null", "http://evil.example", "http://localhost", "http://[")
        ),
        ({"host": "localhost", "origin": "null", "authorization": "Bearer secret"}, "secret", 403),
        ({"host": "localhost"}, "secret", 401),
        *(({"host": "localhost", "authorization": wrong}, "secret", 401) for wrong in WRONG),
    ],
)
def test_requests_of_other_sites_and_without_the_key_are_refused_and_the_key_is_not_told(
    headers: dict[str, str], key: str | None, status: int
) -> None:
    if status == 200:
        check_head(headers, host="other.example.org", key=key)
        return
    with pytest.raises(RequestError) as caught:
        check_head(headers, host="other.example.org", key=key)
    assert caught.value.status == status
    assert "secret" not in caught.value.message
