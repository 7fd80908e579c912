"""The HTTP server: connections, their bounds, and the fast lane."""
