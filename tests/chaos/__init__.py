"""Runs killed at random moments, continued, and compared with the uninterrupted one."""
