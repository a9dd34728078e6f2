"""The settings of the chunk cache.

Belongs here: nothing but the group. Does not belong here: the other groups (setting_groups), acting on a setting.
"""

from __future__ import annotations

from pydantic import Field

from s2v_pipeline.setting_values import Group


class CacheSettings(Group):
    """Finished chunks kept by content, for all inputs and projects that share the place."""

    url: str | None = Field(
        None, min_length=1, description="a folder, or a URL that fsspec opens (s3://, gs://, file://); none is off"
    )
    max_gb: float = Field(
        50, ge=0, description="size up to which it grows, then the least recently read goes; 0 is any"
    )
    # A restarted store or a failed-over one is back within that; a chunk of `wan_s2v` takes a minute to make again.
    patience_s: float = Field(30, gt=0, description="retries of a store that does not answer before going on without")
