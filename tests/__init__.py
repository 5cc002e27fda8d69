"""Tests of echoactor; they run under pytest and under trial."""
