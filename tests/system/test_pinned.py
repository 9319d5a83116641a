"""Real commands with the id of an object: it comes, or nothing does."""

from __future__ import annotations

import os
from pathlib import Path

from fountain.cli.place import object_url
from tests.system.conftest import Writer
from tests.system.groups import QUICKLY, Fleet
from tests.system.programs import Programs, Server

SIZE = 200_000


def object_id(server: Server) -> str:
    return str(server.event("object_served")["object_id"])


def test_a_url_with_an_id_takes_that_object_or_nothing(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    image, place = write_file(SIZE, "image #1.bin"), tmp_path / "place"
    place.mkdir()
    server = programs.serve(image)
    pinned = object_id(server)
    url = object_url("127.0.0.1", server.port, image.name, pinned)
    fetch = programs.fetch_plainly("-o", place, port=server.port, host=url)
    assert fetch.wait() == 0, fetch.err
    assert (place / image.name).read_bytes() == image.read_bytes()
    (place / image.name).unlink()
    server.interrupt()

    server = programs.serve(write_file(SIZE, image.name))  # the same name and size, and other content
    url = object_url("127.0.0.1", server.port, image.name, pinned)
    fetch = programs.fetch_here("-o", place, port=server.port, host=url)
    assert fetch.wait() == 9, fetch.err
    assert f"127.0.0.1 offers another '{image.name}', {object_id(server)}" in fetch.err
    assert "and not the object of the id in the URL." in fetch.err
    assert os.listdir(place) == []
    fetch = programs.fetch_here("-o", place, "--object", pinned, image.name, port=server.port)
    assert fetch.wait() == 9, fetch.err
    assert "and not the object of the id in --object." in fetch.err
    for name, words, typed in (
        ("without a name", ["--object", pinned], "--object"),
        ("of another name", ["--object", pinned, "other"], "--object"),
        ("by a URL", [], "the URL"),
    ):
        host = "127.0.0.1" if words else f"fountain://127.0.0.1#{pinned}"
        fetch = programs.fetch_here("-o", place, *words, port=server.port, host=host)
        assert fetch.wait() == 9, (name, fetch.err)
        assert f"127.0.0.1 does not have the object of the id in {typed}." in fetch.err
        assert f"hint: If it was changed on purpose, ask for its new id, and give that in {typed}." in fetch.err
    assert os.listdir(place) == []


def test_a_group_gives_the_object_of_the_id_alone(fleet: Fleet, write_file: Writer) -> None:
    image = write_file(SIZE, "image.bin")
    server = fleet.serve(*QUICKLY, image)
    pinned = object_id(server)
    fetch = fleet.receive("right", "--object", pinned)
    assert fetch.wait() == 0, fetch.err
    fetch = fleet.receive_here("wrong", "--object", pinned[::-1], "--timeout", "2")
    assert fetch.wait() == 9, fetch.err
    assert f"offers another 'image.bin', {pinned}" in fetch.err
    assert os.listdir(fleet.place("wrong")) == []
    fetch = fleet.receive_here("named", "--object", pinned[::-1], "other", "--timeout", "2")
    assert fetch.wait() == 9, fetch.err
    server.interrupt()
