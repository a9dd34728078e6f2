"""The Dagster layer: assets, checks, job, sensor and resources around the stages' plain functions.

Belongs here: everything that imports Dagster. Does not belong here: what a stage does.
"""
