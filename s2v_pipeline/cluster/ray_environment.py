"""Variables that Ray reads when it is imported and hands to the processes that it starts.

Belongs here: which they are, and why. Does not belong here: Ray.
"""

from __future__ import annotations

import os
import secrets

from s2v_pipeline.cluster.rank_group import MULTICAST_OFF

# Since 2.59 Ray decides by the presence of a token file whether it authenticates; processes of one cluster must agree,
# so the mode is always said. A cluster without authentication needs RAY_AUTH_MODE=disabled in the environment.
_AUTH_MODE_VARIABLE = "RAY_AUTH_MODE"
_DEFAULT_AUTH_MODE = "token"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"  # noqa: S105 (a name, not a secret)
_TOKEN_BYTES = 32

# A request to a host that the network has lost waits until gRPC finds out, with Ray's own figures for seven minutes,
# and Ray gives nothing to other hosts meanwhile (https://github.com/ray-project/ray/issues/63405). A ping more often
# than each minute would be refused by nodes that do not know of it (ray/src/ray/rpc/grpc_server.cc); an answer that
# takes a minute is that of a process which is stopped, not slow.
_FINDS_LOST_HOSTS = {"RAY_grpc_client_keepalive_time_ms": "70000", "RAY_grpc_client_keepalive_timeout_ms": "60000"}


def set_environment(*, local: bool, token: str = "") -> None:
    """Set them in this process, where the user has not.

    Args:
        local: whether this process starts Ray.
        token: that of the cluster; with none, one that a local Ray makes for itself.
    """
    os.environ.setdefault(_AUTH_MODE_VARIABLE, _DEFAULT_AUTH_MODE)
    # Ray reports usage to a server on the internet unless told not to; a pipeline on private speech must not.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray announces a change of how CPU-only workers see GPUs; saying the new behaviour silences the warning.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for name, value in _FINDS_LOST_HOSTS.items():
        os.environ.setdefault(name, value)
    if local:
        for name, value in MULTICAST_OFF.items():
            os.environ.setdefault(name, value)
        # A local Ray is this process's own: a token that nobody else has, and no file in the home folder.
        os.environ.setdefault(TOKEN_VARIABLE, secrets.token_hex(_TOKEN_BYTES))
    if token:
        os.environ[TOKEN_VARIABLE] = token
