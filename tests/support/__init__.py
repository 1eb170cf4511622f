"""Helpers of the tests: fault injection, checks of histories, leak checks."""
