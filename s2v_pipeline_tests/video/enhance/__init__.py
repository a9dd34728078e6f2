"""Tests of the enhancement stages."""
