"""HOST is taken in each form that people type, and what is none of them is refused with the forms."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.cli.place import HostPlace, object_url, parse_place
from fountain.config import FetchConfig, TrustConfig
from fountain.errors import UntrustedError, UsageError
from fountain.events import Observer, Warned
from tests.cli.stage import Outcome, Stage

ID = "0123456789abcdef" * 4


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
        (f"fountain://server/a%23b#{ID}", HostPlace("server", None, "a#b", ID)),
        (f"fountain://[::1]:7000#{ID}", HostPlace("::1", 7000, None, ID)),
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
        "fountain://server/name#id#id", "fountain://server/image.iso#", "fountain://server#", "fountain://server/#",
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


@pytest.mark.parametrize("host", ["192.168.1.5", "fe80::1%eth0", "server"])
@pytest.mark.parametrize("port", [6330, 7000])
@given(st.text(min_size=1).filter(lambda name: name != "/" * len(name)).map(lambda name: name.rstrip("/")))
def test_a_url_of_an_object_says_what_it_was_made_of(host: str, port: int, name: str) -> None:
    place = parse_place(object_url(host, port, name, ID))
    assert place == HostPlace(host, None if port == 6330 else port, name, ID)


def test_the_id_of_an_object_is_in_the_url_or_an_option() -> None:
    stage = Stage()
    stage.fetch(f"fountain://server/image.iso#{ID}")
    stage.fetch("server", "image.iso", "--object", ID)
    stage.fetch(f"fountain://server/image.iso#{ID}", "--object", ID.upper())
    assert stage.configs == [FetchConfig(host="server", name="image.iso", trust=TrustConfig(object_id=ID))] * 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((f"fountain://server/a#{ID}", "--object", "0" * 64), "another id than --object"),
        (("fountain://server/a#12",), "'12' is not the id of an object."),
        (("server", "--object", ID + "0"), "is not the id of an object."),
        (("--group", "239.63.30.1", "--listen", "--object", ID), "--listen takes every object, and no --object."),
    ],
)
def test_an_id_that_cannot_be_is_refused(argv: tuple[str, ...], message: str) -> None:
    stage = Stage()
    status, _, err = stage.fetch(*argv)
    assert (status, stage.configs) == (2, [])
    assert message in err


@pytest.mark.parametrize(
    "argv", [["fountain://server/image.iso#"], ["server", "--object", ""], ["server", "--object="]]
)
def test_an_id_that_is_empty_is_refused(argv: list[str]) -> None:
    """A variable that is unset must not mean any object."""
    stage = Stage()
    status, _, err = stage.fetch(*argv)
    assert (status, stage.configs) == (2, [])
    assert "Is a variable unset?" in err


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        ([f"fountain://server/image.iso#{ID}"], "the URL"),
        (["server", "--object", ID], "--object"),
        ([f"fountain://server/image.iso#{ID}", "--object", ID], "--object"),
    ],
)
def test_what_is_wrong_with_an_id_names_where_it_was_typed(argv: list[str], typed: str) -> None:
    def engine(observer: Observer, _stop: threading.Event) -> Outcome:
        observer.handle(Warned("No object of the id in `object_id`.", "Still waiting (`wait`)."))
        raise UntrustedError("No object of the id in `object_id`.", "Mend `object_id`.")

    status, _, err = Stage(engine).fetch(*argv)
    assert status == 9
    assert f"warning: No object of the id in {typed}.\n" in err
    assert f"fountain-fetch: No object of the id in {typed}.\n  hint: Mend {typed}.\n" in err
