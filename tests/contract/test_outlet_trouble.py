"""An outlet that is not there, or not well, is told in one sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from labgrid.driver.power import rest

from farm.board.target import told_as_ours
from farm.errors import BoardError

pytestmark = pytest.mark.usefixtures("state")  # no proxy


@pytest.fixture
def sick_outlet() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.send_error(500)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/outlet/1"
    server.shutdown()
    thread.join()
    server.server_close()


def switch(url: str) -> BoardError:
    """Switch an outlet on with labgrid's driver, and return what is told of it."""
    with pytest.raises(BoardError) as caught, told_as_ours("board-1"):
        rest.power_set(url, None, 1, True)
    assert "farm lab status" in caught.value.next_step
    return caught.value


def test_an_outlet_that_does_not_answer() -> None:
    url = "http://127.0.0.1:9/outlet/1"
    assert str(switch(url)) == f"board-1: the power outlet at {url} does not answer"


def test_an_outlet_that_refuses(sick_outlet: str) -> None:
    assert str(switch(sick_outlet)) == (
        f"board-1: the power outlet at {sick_outlet} answers with status 500, expected 200"
    )
