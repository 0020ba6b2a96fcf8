"""Host and Origin: requests that the pages of other sites cause are not answered."""

import pytest

from charlm.serving.guard import check_allowed, check_host, check_key, check_origin
from charlm.serving.requests import RequestError


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "10.1.2.3", "texts.example.org.", "localhost."],
)
def test_addresses_localhost_and_allowed_names_are_answered(host: str) -> None:
    check_host(host, ["texts.example.org"])


@pytest.mark.parametrize("name", ["texts.example.org", "TEXTS.example.org.", "my_machine", "xn--bcher-kva.example"])
def test_an_allowed_name_is_answered_however_it_is_spelt(name: str) -> None:
    check_host(f"{name}:8000", [check_allowed(name)])


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "texts.example.org", "127.0.0.1.nip.io"])
def test_other_names_are_refused_as_they_may_have_been_rebound(host: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_host(host, ["other.example.org"])
    assert caught.value.status == 403


@pytest.mark.parametrize("host", [None, "", ":80", "[::1", "a@localhost", "localhost/x", "[]"])
def test_what_is_not_a_host_is_refused(host: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        check_host(host, [])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://localhost", "http://["],
)
def test_requests_of_pages_of_other_sites_are_refused(origin: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_origin(origin, "localhost:8000")
    assert caught.value.status == 403


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "secret", "Bearer secret2", "Bearer s\xe9cret"])
def test_a_request_without_the_key_is_refused_and_the_key_is_not_told(header: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        check_key(header, "secret")
    assert caught.value.status == 401
    assert "secret" not in caught.value.message
    check_key("Bearer secret", "secret")
