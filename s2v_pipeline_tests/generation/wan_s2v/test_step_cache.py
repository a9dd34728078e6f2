"""Caches are values: two branches do not meet in them."""

from __future__ import annotations

import torch

from s2v_pipeline.generation.wan_s2v.step_cache import StepCache


def test_caches_of_two_branches_do_not_mix() -> None:
    caches = [StepCache(1e9, n_steps=5), StepCache(1e9, n_steps=5)]
    added = [10.0, 20.0]
    reused: list[list[float]] = [[], []]
    for _ in range(5):
        for cache, rest, values in zip(caches, added, reused, strict=True):
            hidden = torch.ones(3)
            whole = cache.reuse(hidden)
            if whole is None:
                cache.keep(hidden + rest)
            else:
                values.append(float(whole[0]))
    # Of five steps the first two and the last are computed.
    assert reused == [[11.0, 11.0], [21.0, 21.0]]
    assert [cache.n_reused for cache in caches] == [2, 2]
