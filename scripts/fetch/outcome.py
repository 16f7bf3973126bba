"""How downloads ended, as problems and lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact
from scripts.core.report import human_size
from scripts.fetch.failure import ErrorKind
from scripts.fetch.pool import Failed
from scripts.fetch.reason import plain

FETCH: Final = "pixi run fetch"


@dataclass(frozen=True, slots=True)
class Advice:
    """The exit code that a kind of error asks for, and what mends it.

    In `help`, `{again}` stands for the command to run again, `{resumed}` for how it goes on,
    `{bucket}` for a bucket of S3.
    """

    code: ExitCode
    help: str


# The one place where help is chosen: what mends one kind stands in its row, and two share words
# only where the same command mends both.
ADVICE: Final[Mapping[ErrorKind, Advice]] = {
    ErrorKind.UNREACHED: Advice(
        ExitCode.NETWORK,
        "is there a network, or a proxy to set (HTTPS_PROXY, `[proxy-config]`)? then run `{again}`"
        " again",
    ),
    ErrorKind.PROXY: Advice(
        ExitCode.NETWORK,
        "correct HTTPS_PROXY or `[proxy-config]`, or name the host in NO_PROXY; then run `{again}`"
        " again",
    ),
    ErrorKind.PROXY_CREDENTIALS: Advice(
        ExitCode.USAGE,
        "write `USER:PASSWORD@` in front of the proxy's host, in HTTPS_PROXY or `[proxy-config]`",
    ),
    ErrorKind.CUT_OFF: Advice(ExitCode.NETWORK, "run `{again}` again{resumed}"),
    ErrorKind.TLS_UNTRUSTED: Advice(
        ExitCode.USAGE,
        "name a file with the certificate of the server's authority: SSL_CERT_FILE=FILE.pem",
    ),
    ErrorKind.TLS_UNTRUSTED_SETTING: Advice(
        ExitCode.USAGE,
        "name the certificate of the server's authority beside it, SSL_CERT_FILE=FILE.pem, or take"
        " the other store: `pixi config set tls-root-certs system`, or webpki",
    ),
    ErrorKind.TLS_NAME: Advice(
        ExitCode.USAGE,
        "call the server by the name in its certificate, in `channels` or `[mirrors]`; or is"
        " it another server, behind a portal or proxy?",
    ),
    ErrorKind.TLS_EXPIRED: Advice(
        ExitCode.USAGE,
        "is this machine's clock right (`date`)? if so, the server's keeper has to renew its"
        " certificate",
    ),
    ErrorKind.NO_TLS: Advice(
        ExitCode.USAGE,
        "write http:// for https://, or another port, in `channels`, `[mirrors]` or HTTPS_PROXY",
    ),
    ErrorKind.BAD_URL: Advice(
        ExitCode.USAGE,
        "correct the URL where it is written: `channels` (then `pixi lock`), `[mirrors]`, --mirror",
    ),
    ErrorKind.PLACEHOLDER: Advice(
        ExitCode.USAGE,
        "take it out of the URL in `channels`, then `pixi lock`; a token is given apart:"
        " `pixi auth login HOST --conda-token TOKEN`",
    ),
    ErrorKind.TLS_NOT_TURNED_OFF: Advice(
        ExitCode.USAGE, "take py-rattler 0.28 or newer, or `pixi config unset tls-no-verify`"
    ),
    ErrorKind.S3_OPTIONS: Advice(
        ExitCode.USAGE,
        "set endpoint-url, region and force-path-style in `[workspace.s3-options.{bucket}]`, and"
        " give keys: `pixi auth login s3://{bucket} --s3-access-key-id ID --s3-secret-access-key"
        " KEY`; for AWS, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY do",
    ),
    ErrorKind.S3_KEYS: Advice(
        ExitCode.USAGE,
        "give keys that may read it: `pixi auth login s3://{bucket} --s3-access-key-id ID"
        " --s3-secret-access-key KEY`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    ErrorKind.UNAUTHORIZED: Advice(
        ExitCode.USAGE, "give credentials: `pixi auth login HOST --token TOKEN`, or netrc"
    ),
    ErrorKind.FORBIDDEN: Advice(
        ExitCode.USAGE,
        "if it wants credentials: `pixi auth login HOST --token TOKEN`, or netrc; else only its"
        " keeper can let you have it",
    ),
    ErrorKind.GONE: Advice(
        ExitCode.NO, "the channel no longer has it; `pixi run update-mirror` moves on"
    ),
    ErrorKind.TOO_MANY_REQUESTS: Advice(
        ExitCode.NETWORK, "run `{again}` again later, or with fewer downloads at once: --jobs 2"
    ),
    ErrorKind.SERVER_ERROR: Advice(ExitCode.NETWORK, "run `{again}` again later{resumed}"),
    ErrorKind.REFUSED: Advice(
        ExitCode.USAGE,
        "is it the channel you meant? correct it in `channels`, then `pixi lock`, or `[mirrors]`",
    ),
    ErrorKind.REDIRECT: Advice(
        ExitCode.USAGE,
        "name in `[mirrors]` a server that has the files themselves: `pixi config edit`",
    ),
    ErrorKind.WEB_PAGE: Advice(
        ExitCode.NO,
        "is it the URL you meant? if so, log in: `pixi auth login HOST --token TOKEN`, or as the"
        " page says; then run `{again}` again",
    ),
    ErrorKind.WRONG_BYTES: Advice(
        ExitCode.NO,
        "nothing was kept; run `{again}` again, or `pixi run update-mirror` if the channel"
        " replaced the file",
    ),
    ErrorKind.CONTENT_ENCODING: Advice(
        ExitCode.NO,
        "nothing was kept; the server's keeper has to send archives without Content-Encoding, or"
        " name another server in `[mirrors]`",
    ),
    ErrorKind.NO_CHANNEL_FOLDER: Advice(
        ExitCode.USAGE,
        "mount it there, or name in `channels` one that this machine reaches and lock anew:"
        " `pixi lock`",
    ),
    ErrorKind.NO_MIRROR_FOLDER: Advice(
        ExitCode.USAGE, "mount it there, or take it out of `[mirrors]`: `pixi config edit`"
    ),
    ErrorKind.NO_FILE: Advice(
        ExitCode.USAGE, "put it back there, or lock what is there now: `pixi run update-mirror`"
    ),
    ErrorKind.NOT_A_FILE: Advice(
        ExitCode.USAGE, "put the artifact in its place, or `pixi lock` without it"
    ),
    ErrorKind.UNREADABLE: Advice(
        ExitCode.USAGE, "make it readable (`chmod a+r FILE`), then run `{again}` again"
    ),
    ErrorKind.DISK_FULL: Advice(
        ExitCode.USAGE,
        "free some room, or set channel-dir to a folder on a larger disk; then run `{again}` again",
    ),
    ErrorKind.NOT_WRITABLE: Advice(
        ExitCode.USAGE,
        "make the folder writable, or set channel-dir to one that is; then run `{again}` again",
    ),
    ErrorKind.BUSY: Advice(
        ExitCode.USAGE, "wait until the other run is over, then run `{again}` again"
    ),
    ErrorKind.DISK: Advice(ExitCode.USAGE, "see to the disk, then run `{again}` again"),
}


def problem_of(failed: Failed) -> Problem:
    """Turn a failed download into what a person should read and do."""
    error, artifact = failed.error, failed.artifact
    source = error.source or artifact.urls[0]
    code, help_line = advise(error.kind, source, FETCH)
    return Problem(
        subject=str(artifact.path),
        trouble=redact(plain(error.text)),
        code=code,
        facts=(*error.details, ("from", redact(source))),
        help=help_line,
    )


def advise(kind: ErrorKind, url: str, again: str) -> tuple[ExitCode, str]:
    """Return the exit code and the help for a kind of error; `again` is the command that met it."""
    advice = ADVICE[kind]
    resumed = "; it goes on where it stopped" if again == FETCH else ""
    bucket = urlsplit(url).netloc
    return advice.code, advice.help.format(again=again, resumed=resumed, bucket=bucket)


def replaced_line(artifact: Artifact, actual: str) -> str:
    """Say that a file in the channel was not the artifact, and is replaced."""
    digest = artifact.digest
    expected = digest.hex if digest and len(actual) == len(digest.hex) else artifact.size
    return f"{artifact.path}: is not what pixi.lock names, replaced ({actual}, not {expected})"


def closing_line(fetched: int, size: int, there: int) -> str:
    """Sum a run up in one line."""
    if fetched == 0:
        are = "artifact is" if there == 1 else "artifacts are"
        return f"fetch: nothing to do, {there} {are} there"
    noun = "artifact" if fetched == 1 else "artifacts"
    were = "was" if there == 1 else "were"
    return f"fetch: {fetched} {noun} fetched, {human_size(size)}; {there} {were} there already"
