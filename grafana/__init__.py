"""Grafana's dashboards, made from typed Python: `python -m grafana` writes `grafana/dashboards/*.json` anew."""

from grafana import depth, overview
from grafana.model import Board

BOARDS: tuple[Board, ...] = (overview.BOARD, depth.BOARD)
