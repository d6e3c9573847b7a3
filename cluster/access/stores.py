"""Opens a folder or a bucket so that one that does not answer is given up within seconds.

pyarrow on its own tries an endpoint that never answers for minutes. This module travels to nodes
by value: it needs pyarrow only, and only when it is called.
"""

import os
from typing import Any

CONNECT_S, SILENCE_S = 3, 4  # of one attempt: until a connection, and between bytes
RETRY_S = 5
BUCKET_ADVICE = (
    "Check the bucket's name, the credentials there (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or the role of the machine), AWS_REGION, and AWS_ENDPOINT_URL if it is set."
)


def open_store(uri: str, *, attempts: int = 2) -> tuple[Any, str]:
    """Return a pyarrow file system and the path in it.

    Args:
        uri: s3://, gs:// or another URI that pyarrow reads, or a local path.
        attempts: How often a request to an S3 endpoint is made before it has failed.

    Raises:
        OSError: pyarrow cannot open it.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, S3FileSystem

    scheme, _, path = uri.partition("://")
    if scheme == "gs":
        query = f"{'&' if '?' in uri else '?'}retry_limit_seconds={RETRY_S}"
        system, path = FileSystem.from_uri(uri + query)
        return system, str(path)
    if scheme != "s3" or "?" in uri:
        system, path = FileSystem.from_uri(uri)
        return system, str(path)
    settings: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        settings["scheme"], _, settings["endpoint_override"] = endpoint.partition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and not endpoint:
        region = FileSystem.from_uri(f"s3://{path.partition('/')[0]}")[0].region
    system = S3FileSystem(
        region=region,
        connect_timeout=CONNECT_S,
        request_timeout=SILENCE_S,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=attempts),
        **settings,
    )
    return system, path.rstrip("/")
