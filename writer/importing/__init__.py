"""Importing recorded history: lines of a file become decided events, appended in bulk."""
