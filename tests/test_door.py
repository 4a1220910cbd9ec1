"""The viewer's door: who gets in, what is refused, and what it leaves behind."""

import http.client
import os
import socket
import threading
import time

import pytest
import torch
import viser
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from polyfield.errors import PolyfieldError
from polyfield.viewer.door import Door

PROTOCOL = f"viser-v{viser.__version__}"


@pytest.fixture
def door():
    door = Door(port=0)
    yield door
    door.close()


def get(door: Door, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    return answer


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts handles in /proc")


class TestDoor:
    def test_only_the_link_opens_it_and_leaves_a_cookie(self, door):
        query = door.link.partition("/?")[2]
        assert get(door, "/").status == 403
        assert get(door, "/?token=wrong").status == 403
        assert get(door, "/?token=").status == 403
        answer = get(door, f"/?{query}")
        assert answer.status == 200
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert get(door, "/", Cookie=cookie.split(";")[0]).status == 200
        assert get(door, "/", Cookie="polyfield-1=x; " + cookie.split(";")[0]).status == 200

    def test_only_a_page_that_is_loaded_announces_a_browser(self):
        came = []
        door = Door(port=0, coming=lambda: came.append(True))
        try:
            token = door.link.split("?")[1]
            assert get(door, "/").status == 403 and not came
            assert get(door, f"/?{token}").status == 200 and came == [True]
        finally:
            door.close()

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1",
            "127.0.0.1:1",
            "",
            "x@127.0.0.1:{port}",
            "[::1",
            "a/b:{port}",
        ],
    )
    def test_a_foreign_host_is_refused(self, door, host):
        query = door.link.partition("/?")[2]
        assert get(door, f"/?{query}", Host=host.format(port=door.port)).status == 403

    def test_a_foreign_origin_is_refused_with_the_token_too(self, door):
        link = door.link.replace("http://", "ws://")
        for origin in ("http://evil.example", "null", f"http://localhost:{door.port + 1}"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(link, origin=origin)
        with pytest.raises(InvalidStatus, match="403"):
            connect(link.partition("?")[0])
        with connect(link, origin=link.partition("/?")[0].replace("ws", "http")):
            pass

    @pytest.mark.parametrize(
        "path", ["/../../../../etc/hostname", "/%2e%2e/%2e%2e/etc/hostname", "/..\\..\\etc"]
    )
    def test_no_file_outside_is_served(self, door, path):
        query = door.link.partition("?")[2]
        assert get(door, path).status == 403
        assert get(door, f"{path}?{query}").status == 404

    @needs_proc
    def test_malformed_messages_end_their_connection_alone(self, door):
        threads, handles = threading.active_count(), len(os.listdir("/proc/self/fd"))
        link = door.link.replace("http://", "ws://")
        generator = torch.Generator().manual_seed(0)
        with connect(link, subprotocols=[PROTOCOL], max_size=None) as quiet:
            for number in range(1000):
                with connect(link, subprotocols=[PROTOCOL], max_size=None) as client:
                    noise = bytes(torch.randint(0, 256, (number % 97,), generator=generator).tolist())
                    try:
                        client.send(noise if number % 2 else noise.decode("latin1"))
                    except ConnectionClosed:
                        pass
            quiet.ping().wait(5)
        assert get(door, f"/?{door.link.partition('?')[2]}").status == 200
        end = time.monotonic() + 10
        while len(os.listdir("/proc/self/fd")) > handles and time.monotonic() < end:
            time.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= handles
        assert threading.active_count() <= threads + 2  # of viser's pool, which keeps its threads

    def test_a_message_of_two_megabytes_is_refused(self, door):
        link = door.link.replace("http://", "ws://")
        with connect(link, subprotocols=[PROTOCOL], max_size=None) as client:
            client.send(bytes(2 << 20))
            with pytest.raises(ConnectionClosed):
                while True:
                    client.recv(timeout=10)

    def test_cookies_of_other_programs_do_no_harm(self, door):
        own = get(door, f"/?{door.link.partition('?')[2]}").headers["Set-Cookie"].split(";")[0]
        for other in ("foo", "a=x y", 'a={"x":1}', "path/x=1", "=", ""):
            assert get(door, "/", Cookie=f"{other}; {own}").status == 200
            assert get(door, "/", Cookie=f"{own}; {other}").status == 200
            assert get(door, "/", Cookie=f"{other}; {own}x").status == 403

    def test_an_address_that_is_not_this_machine_is_refused(self):
        for host in ("192.0.2.1", "nonsense"):
            with pytest.raises(PolyfieldError, match="--host"):
                Door(host)
        for port in (-1, 70_000):
            with pytest.raises(PolyfieldError, match="--port"):
                Door(port=port)

    def test_a_taken_port_gives_the_next(self):
        one = Door(port=0)
        other = Door(port=one.port)
        assert other.port != one.port
        one.close()
        other.close()

    def test_closing_leaves_no_thread_and_no_socket(self):
        threads = threading.active_count()
        door = Door(port=0)
        get(door, "/")
        door.close()
        end = time.monotonic() + 5
        while threading.active_count() > threads and time.monotonic() < end:
            time.sleep(0.05)
        assert threading.active_count() <= threads
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", door.port), 1):
            pass
