"""The chunk cache: finished chunks under the hash of what they depend on, on a disk or in an object store."""
