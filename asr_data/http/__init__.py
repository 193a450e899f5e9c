"""Requests to addresses that the user names, and to no others."""
