"""Which addresses are taken, and what of them is ever shown."""

from __future__ import annotations

import pytest

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.git.address import parse_address, strip_user_info


@pytest.mark.parametrize(
    ("text", "url", "scheme"),
    [
        ("https://git.example.com/acme/deploy.git", "https://git.example.com/acme/deploy.git", "https"),
        ("HTTPS://git.example.com:8443/a", "https://git.example.com:8443/a", "https"),
        ("ssh://git@git.example.com:2222/acme/deploy.git", "ssh://git@git.example.com:2222/acme/deploy.git", "ssh"),
        ("git@github.com:acme/deploy.git", "git@github.com:acme/deploy.git", "ssh"),
        ("http://127.0.0.1:3000/a.git", "http://127.0.0.1:3000/a.git", "http"),
        ("http://localhost/a.git", "http://localhost/a.git", "http"),
        ("http://[::1]:3000/a.git", "http://[::1]:3000/a.git", "http"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git", "file"),
        ("/srv/git/a.git", "file:///srv/git/a.git", "file"),
    ],
)
def test_taken(text: str, url: str, scheme: str) -> None:
    address = parse_address(text, allow_file=True)
    assert (address.url, address.scheme) == (url, scheme)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=touch /tmp/x",
        "ext::sh -c touch% /tmp/x",
        "git://example.com/a",
        "ftp://example.com/a",
        "http://example.com/a",
        "https://user:secret@example.com/a",
        "https://user@example.com/a",
        "ssh://user:secret@example.com/a",
        "ssh://-oProxyCommand=x/a",
        "-x@example.com:a",
        "git@-oProxyCommand=x:a",
        "https://example.com/a b",
        "https://example.com/a\nb",
        "https://example.com/a?upload-pack=x",
        "https://exa\\mple.com/a",
        "https://[::1/a",
        "https:///a",
        "relative/path",
        "file://host/path",
        "x" * 5000,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text, allow_file=True)
    assert "secret" not in str(caught.value)


def test_file_only_where_allowed() -> None:
    with pytest.raises(ConfigError):
        parse_address("file:///srv/git/a.git")


def test_spellings_of_one_repository() -> None:
    one = parse_address("git@github.com:acme/deploy.git")
    other = parse_address("ssh://git@GitHub.com/acme/deploy")
    assert one.identity == other.identity


def test_user_info_is_stripped() -> None:
    text = "fatal: unable to access 'https://bob:hunter2@example.com/a/': no"
    assert strip_user_info(text) == "fatal: unable to access 'https://example.com/a/': no"
