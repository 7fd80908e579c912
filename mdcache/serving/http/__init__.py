"""The HTTP server: connections, their limits, and the fast lane."""
