"""Where the buckets of `s3://` channels are: `[s3-options]` of pixi.

The manifest's `[workspace.s3-options]` are stronger than those of the configuration files
(crates/pixi_utils/src/reqwest.rs, `build_reqwest_middleware_stack`).
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.core.errors import usage_error
from scripts.core.redact import redact
from scripts.core.typed_values import Table, load_toml
from scripts.workspace.parse import pixi_table, workspace_table


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """One bucket's endpoint; `path_style`: the bucket is in the path, not in the host's name."""

    bucket: str
    endpoint_url: str
    region: str
    path_style: bool


def parse_s3_options(table: Table) -> tuple[S3Options, ...]:
    """Read the tables of all buckets.

    pixi 0.77 says `force-path-style`, rattler's newer tools `addressing-style = "path"`
    (rattler_config/src/config/s3.rs, 0.6 and 0.12).
    """
    return tuple(_parse(bucket, each) for bucket, each in table.tables())


def parse_manifest_s3_options(text: str, name: str) -> tuple[S3Options, ...]:
    """Read those of a manifest's text; `name` is its file name."""
    if "s3-options" not in text:
        return ()
    return parse_s3_options(workspace_table(pixi_table(load_toml(text, name))).table("s3-options"))


def overlay(weak: tuple[S3Options, ...], strong: tuple[S3Options, ...]) -> tuple[S3Options, ...]:
    """Lay buckets over each other, each whole."""
    return tuple({each.bucket: each for each in (*weak, *strong)}.values())


def _parse(bucket: str, table: Table) -> S3Options:
    endpoint, region = table.string("endpoint-url"), table.string("region")
    if endpoint is None or region is None:
        raise usage_error(table.subject, f"{table.where} needs an endpoint-url and a region")
    if "://" not in endpoint:
        raise usage_error(table.subject, f"{table.path_of('endpoint-url')} is not a URL")
    style = table.string("addressing-style")
    if style not in {None, "path", "virtual-host"}:
        raise usage_error(
            table.subject,
            f"{table.path_of('addressing-style')} is not one of path, virtual-host",
            ("actual", redact(repr(style))),
        )
    return S3Options(
        bucket=bucket,
        endpoint_url=endpoint,
        region=region,
        path_style=style == "path" or table.boolean("force-path-style"),
    )
