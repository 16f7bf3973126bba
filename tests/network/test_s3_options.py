"""Buckets of manifests, old and new, over those of the configuration."""

from __future__ import annotations

import pytest

from scripts.core.errors import MirrorError
from scripts.network.configuration import (
    PixiConfig,
    S3Options,
    merge_configs,
    parse_manifest_s3_options,
)

BUCKET = """s3-options.bucket]
endpoint-url = "https://minio.example"
region = "eu-central-1"
force-path-style = true
"""


def _options(bucket: str, region: str = "eu-central-1") -> S3Options:
    return S3Options(
        bucket=bucket, endpoint_url="https://minio.example", region=region, path_style=True
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"[workspace.{BUCKET}", "pixi.toml"),
        (f"[project.{BUCKET}", "pixi.toml"),
        (f"[tool.pixi.workspace.{BUCKET}", "pyproject.toml"),
    ],
)
def test_manifests(text: str, name: str) -> None:
    assert parse_manifest_s3_options(text, name) == (_options("bucket"),)


def test_a_manifest_without() -> None:
    assert parse_manifest_s3_options("[workspace]\n", "pixi.toml") == ()
    assert parse_manifest_s3_options("# s3-options\n[workspace]\n", "pixi.toml") == ()


def test_a_bucket_of_the_manifest_that_is_incomplete() -> None:
    with pytest.raises(MirrorError) as caught:
        parse_manifest_s3_options('[workspace.s3-options.b]\nregion = "x"\n', "pixi.toml")
    assert str(caught.value) == "pixi.toml: workspace.s3-options.b has no endpoint-url"


def test_the_stronger_replaces_a_bucket_whole() -> None:
    weak = PixiConfig(s3_options=(_options("a", "weak"), _options("b", "weak")))
    strong = PixiConfig(s3_options=(_options("b"), _options("c")))
    assert merge_configs(weak, strong).s3_options == (
        _options("a", "weak"),
        _options("b"),
        _options("c"),
    )
