"""Which proxy, and what goes past it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.network.configuration import PixiConfig
from scripts.network.proxies import Proxies, choose_proxies

CONFIG = PixiConfig(
    https_proxy="http://config.example:1",
    http_proxy="http://config.example:2",
    non_proxy_hosts=("past.example", ".cern.ch, 10.0.0.0/8"),
)
NOTHING = PixiConfig()
SECURE, PLAIN = "https://upstream.example/x", "http://upstream.example/x"


def _for(environ: dict[str, str], config: PixiConfig = NOTHING) -> list[str | None]:
    proxies = choose_proxies(config, environ)
    return [proxies.for_url(SECURE), proxies.for_url(PLAIN)]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, [None, None]),
        ({"HTTPS_PROXY": "http://a:1"}, ["http://a:1", None]),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, ["http://b:1", None]),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, ["http://b:1", None]),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": ""}, [None, None]),
        ({"HTTPS_PROXY": "http://u@a:1"}, ["http://u:@a:1", None]),
        ({"HTTPS_PROXY": "HTTP://A:1"}, ["http://A:1", None]),
        ({"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:1"}, [None, "http://b:1"]),
        ({"HTTP_PROXY": "http://a:1"}, [None, "http://a:1"]),
        ({"http_proxy": "http://a:1"}, [None, "http://a:1"]),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, [None, None]),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, [None, "http://a:1"]),
        ({"ALL_PROXY": "http://a:1"}, ["http://a:1", "http://a:1"]),
        ({"all_proxy": "http://a:1", "http_proxy": "http://b:1"}, ["http://a:1", "http://b:1"]),
        ({"ALL_PROXY": "a.example:3128"}, ["http://a.example:3128", "http://a.example:3128"]),
        ({"ALL_PROXY": "https://u:p@a:1"}, ["https://u:p@a:1", "https://u:p@a:1"]),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "upstream.example"}, [None, None]),
        ({"ALL_PROXY": "http://a:1", "NO_PROXY": "upstream.example", "no_proxy": "x"}, [None] * 2),
    ],
)
def test_the_environment(environ: dict[str, str], expected: list[str | None]) -> None:
    assert _for(environ) == expected


def test_the_configuration_where_the_environment_names_none() -> None:
    both = ["http://config.example:1", "http://config.example:2"]
    assert _for({}, CONFIG) == both
    assert _for({"NO_PROXY": "elsewhere.example"}, CONFIG) == both
    assert _for({"NO_PROXY": "upstream.example"}, CONFIG) == [None, None]


def test_the_environment_replaces_the_configuration_whole() -> None:
    environ = {"https_proxy": "http://a:1"}
    assert _for(environ, CONFIG) == ["http://a:1", None]
    proxies = choose_proxies(CONFIG, environ)
    assert proxies.for_url("https://past.example/x") == "http://a:1"


def test_the_variable_that_may_be_a_header_replaces_no_configuration() -> None:
    """It counts where nothing is configured, as in pixi: the control."""
    environ = {"HTTP_PROXY": "http://a:1"}
    assert _for(environ, CONFIG) == ["http://config.example:1", "http://config.example:2"]
    assert _for(environ, PixiConfig(https_proxy="http://b:1")) == ["http://b:1", None]
    assert _for(environ) == [None, "http://a:1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://past.example/x",
        "https://PAST.example/x",
        "https://sub.past.example/x",
        "https://home.cern.ch/x",
        "https://cern.ch/x",
        "https://10.1.2.3/x",
        "s3://bucket/x",
        "file:///x",
        "/x",
    ],
)
def test_what_goes_past_the_configured_proxies(url: str) -> None:
    assert choose_proxies(CONFIG, {}).for_url(url) is None


@pytest.mark.parametrize("url", ["https://notpast.example/x", "https://11.1.2.3/x"])
def test_what_only_looks_like_it(url: str) -> None:
    assert choose_proxies(CONFIG, {}).for_url(url) == "http://config.example:1"


@pytest.mark.parametrize(
    ("no_proxy", "host", "past"),
    [
        ("*", "a.example", "past"),
        ("", "a.example", "proxy"),
        (" b.example , a.example ", "a.example", "past"),
        ("*.a.example", "x.a.example", "past"),
        ("A.Example", "a.example", "past"),
        ("a.example", "a.example.", "past"),
        ("example", "a.example", "past"),
        ("ample", "a.example", "proxy"),
        ("a.example:443", "a.example", "past"),
        ("a.example:8443", "a.example", "proxy"),
        ("a.example:8443", "a.example:8443", "past"),
        ("192.0.2.7", "192.0.2.7", "past"),
        ("192.0.2.7", "192.0.2.70", "proxy"),
        ("192.0.2.0/24", "192.0.2.70", "past"),
        ("192.0.2.7:443", "192.0.2.7", "past"),
        ("2001:db8::/32", "[2001:db8::7]", "past"),
        ("[2001:db8::7]", "[2001:db8::7]", "past"),
        ("2001:db8::/32", "192.0.2.7", "proxy"),
        (".", "a.example", "proxy"),
    ],
)
def test_no_proxy(no_proxy: str, host: str, past: str) -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy}
    expected = None if past == "past" else "http://p:1"
    assert choose_proxies(PixiConfig(), environ).for_url(f"https://{host}/x") == expected


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.8.8", "[::1]:8000", "a.localhost"],
)
def test_this_machine_is_never_asked_through_a_proxy(host: str) -> None:
    proxies = choose_proxies(PixiConfig(), {"ALL_PROXY": "http://p:1"})
    assert proxies.for_url(f"http://{host}/x") is None
    assert proxies.for_url("http://128.0.0.1/x") == "http://p:1"


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_that_cannot_be_used(scheme: str) -> None:
    proxies = choose_proxies(PixiConfig(), {"ALL_PROXY": "socks5h://user:hidden@p:1"})
    with pytest.raises(MirrorError) as caught:
        proxies.for_url(f"{scheme}://conda.example.org/x")
    assert str(caught.value) == (
        f"the environment: the proxy for {scheme} is not the URL of an http or https proxy\n"
        f"help: set {scheme}_proxy to an http proxy, or NO_PROXY to the hosts to reach directly"
    )
    assert caught.value.problems[0].code is ExitCode.USAGE


@pytest.mark.parametrize("proxy", ["http://", "http://user:hidden@:1", "p:hidden", "http://[::1"])
def test_a_proxy_that_is_none(proxy: str) -> None:
    with pytest.raises(MirrorError) as caught:
        choose_proxies(PixiConfig(), {"ALL_PROXY": proxy}).for_url(SECURE)
    [problem] = caught.value.problems
    assert problem.message == "the proxy for https is not the URL of an http or https proxy"
    assert "hidden" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    proxies = Proxies(source="x", https="http://u:hidden@p", http="http://u:hidden@p")
    assert "hidden" not in f"{proxies!r} {proxies}"


@given(st.text(max_size=30), st.sampled_from(["a.example", "[::1]", "192.0.2.7:80", "localhost"]))
def test_any_no_proxy_is_read(no_proxy: str, host: str) -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy}
    result = choose_proxies(PixiConfig(), environ).for_url(f"https://{host}/x")
    assert result in {None, "http://p:1"}
