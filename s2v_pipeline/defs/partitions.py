"""The one partitions definition: a partition is an input, its key the input's slug.

Belongs here: the definition. Does not belong here: making slugs (inputs.slug), registering inputs (launch, sensors).
"""

from __future__ import annotations

import dagster as dg

PARTITIONS_NAME = "inputs"

INPUTS = dg.DynamicPartitionsDefinition(name=PARTITIONS_NAME)
