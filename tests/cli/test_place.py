"""HOST is taken in each form that people type, and what is none of them is refused with the forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.cli.place import HostPlace, parse_place
from fountain.config import FetchConfig
from fountain.errors import UsageError
from tests.cli.stage import Stage


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server", HostPlace("server")),
        ("192.168.1.5", HostPlace("192.168.1.5")),
        ("192.168.1.5:7000", HostPlace("192.168.1.5", 7000)),
        ("2001:db8::1", HostPlace("2001:db8::1")),
        ("fe80::1%eth0", HostPlace("fe80::1%eth0")),
        ("[2001:db8::1]", HostPlace("2001:db8::1")),
        ("[2001:db8::1]:7000", HostPlace("2001:db8::1", 7000)),
        ("fountain://server", HostPlace("server")),
        ("fountain://server/", HostPlace("server")),
        ("FOUNTAIN://server:7000/image.iso", HostPlace("server", 7000, "image.iso")),
        ("fountain://[::1]:7000/a%20b/", HostPlace("::1", 7000, "a b")),
        ("fountain://server/latin%e9", HostPlace("server", None, "latin\udce9")),
    ],
)
def test_a_place_is_host_port_and_name(text: str, place: HostPlace) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        ":7000", "server:", "server:x", "server:0", "server:65536", "server:-1", "a:b:c", "[::1", "[]:1", "fountain://",
        "http://server/", "server/name", "server:1/name", "fountain://user@server/", "fountain://server/name?query",
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_place(text)
    assert raised.value.hint


@given(st.text(max_size=40))
def test_any_text_is_a_place_or_wrong_usage(text: str) -> None:
    try:
        place = parse_place(text)
    except UsageError:
        return
    assert place.host
    assert place.port is None or 1 <= place.port <= 65_535


def test_the_command_takes_each_of_them() -> None:
    stage = Stage()
    stage.fetch("server:7000", "image.iso")
    stage.fetch("fountain://server:7000/image.iso")
    stage.fetch("fountain://server/image.iso", "--port", "7000")
    assert stage.configs == [FetchConfig(host="server", port=7000, name="image.iso")] * 3


@pytest.mark.parametrize("argv", [["server:7000", "--port", "7001"], ["fountain://server/a", "b"]])
def test_what_is_typed_twice_is_refused(argv: list[str]) -> None:
    status, _, err = Stage().fetch(*argv)
    assert status == 2
    assert "Leave one of them out." in err
