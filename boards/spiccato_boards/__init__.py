"""Boards: device facts, default configurations and project files."""
