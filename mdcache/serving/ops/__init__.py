"""The paths for operators: health, metrics, status, commands and pages."""
