"""What commands show on a terminal: tables, bars, live views."""
